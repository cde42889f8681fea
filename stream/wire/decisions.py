"""What a clock, the load or a person decided about one micro-batch, and nothing in the log tells."""

from typing import Literal

import msgspec
from msgspec import Struct

__all__ = ["Decisions", "EffortLevel"]

EffortLevel = Literal["low", "normal", "high"]


class Decisions(Struct, frozen=True, kw_only=True):
    """The decisions of one micro-batch. The journal keeps them, so that whoever learns it again decides nothing."""

    decoded_at_ms: int
    """The clock that event times in the future are judged by."""
    generated_at_ms: int = 0
    """When the lists were computed; 0 before they are."""
    effort: EffortLevel = "normal"
    """What the model spends on the batch, on its ladder."""
    excluded: dict[int, list[int]] = {}
    """Partition to offsets of events that are left out although they can be read."""

    def excluding(self, partition: int, offset: int) -> "Decisions":
        """Return these decisions with one more event left out."""
        offsets = sorted({*self.excluded.get(partition, ()), offset})
        excluded = {**self.excluded, partition: offsets}
        return msgspec.structs.replace(self, excluded=dict(sorted(excluded.items())))

    def excludes(self, partition: int, offset: int) -> bool:
        """Return whether an event is left out."""
        return offset in self.excluded.get(partition, ())

    @property
    def num_excluded(self) -> int:
        """How many events are left out."""
        return sum(map(len, self.excluded.values()))
