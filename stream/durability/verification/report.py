"""How a comparison ends: everything is equal, or this is where it first is not."""

from dataclasses import dataclass, field

from stream.durability.divergence import Difference
from stream.errors import VerificationFailed
from stream.wire.fingerprint import hex_digits

__all__ = ["Parted", "Report"]


class Parted(VerificationFailed):
    """What is there is not what the log leads to."""

    def __init__(self, difference: Difference, hint: str = "") -> None:
        super().__init__(f"log and results part at {difference}{hint}")
        self.difference = difference


@dataclass(slots=True)
class Report:
    """What was found equal."""

    start: str
    """What the learning began from."""
    first_epoch: int
    last_epoch: int
    num_epochs: int = 0
    """Batches that were learned again and compared."""
    num_records: int = 0
    num_checkpoints: int = 0
    num_lists: int = 0
    """Lists that were computed again; their hash is that of the journal."""
    num_lists_there: int = 0
    """How many of them are still in the topic; each was compared byte for byte."""
    records_hash: str = hex_digits(0)
    """Multiset hash of all records of these batches, 16 hex digits."""
    applied_hash: str = ""
    digest: str = ""
    """Of the state after the last epoch, 64 hex digits."""
    offsets_are_equal: bool = False
    """The group's committed offsets are the journal's newest positions; False: the group has none."""
    remarks: list[str] = field(default_factory=list)
    """What was not compared, and why."""

    def __str__(self) -> str:
        return (
            f"equal: {self.num_epochs:,} epochs, {self.num_records:,} records, {self.num_checkpoints:,} checkpoints, "
            f"{self.num_lists:,} lists"
        )
