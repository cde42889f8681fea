"""How much the learner spends on a batch, from one rung of a ladder to the next."""

from enum import StrEnum

__all__ = ["Effort", "num_steps", "replays"]


class Effort(StrEnum):
    """What the network spends on a batch. On every rung each event is evaluated, and every memory learns it."""

    LOW = "low"
    """Nothing past is learned again, and only every other sub-step moves the network."""
    NORMAL = "normal"
    """As configured."""
    HIGH = "high"
    """Every sub-step moves the network twice, the second time beside other past events."""


def replays(effort: Effort) -> bool:
    """Return whether past windows are learned again."""
    return effort is not Effort.LOW


def num_steps(effort: Effort, num_learned: int) -> int:
    """Return how many steps of the optimizer a sub-step gets; ``num_learned`` is how many sub-steps were before it."""
    if effort is Effort.LOW:
        return 1 - num_learned % 2
    return 2 if effort is Effort.HIGH else 1
