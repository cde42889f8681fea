"""What became of a run."""

from collections import Counter
from dataclasses import dataclass, field

from benchmarks.chaos.plan import Fault

__all__ = ["Outcome"]


@dataclass(slots=True)
class Outcome:
    """What became of a run."""

    seed: int
    parted: list[str] = field(default_factory=list)
    """In what it is not as a run that was never interrupted; empty: equal."""
    planned: list[Fault] = field(default_factory=list)
    fired: list[Fault] = field(default_factory=list)
    weather: Counter[str] = field(default_factory=Counter)
    """What happened around the workers, by kind."""
    relearned_batches: int = 0
    recovery_seconds: float = 0.0
    """Spent on loading checkpoints and learning batches again, in all workers."""
    seconds: float = 0.0
