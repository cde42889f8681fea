"""Where two accounts of one batch part: a value that messages are made of."""

from dataclasses import dataclass

__all__ = ["Difference"]


@dataclass(frozen=True, slots=True)
class Difference:
    """Where what was done again first is not what was done then."""

    epoch: int
    what: str
    """In words, as in "its lists"."""
    expected: str
    """What was written down, or follows from what was."""
    found: str
    """What is there instead, or came out."""
    are_other_records: bool = False
    """The batch's records are not those that were learned, so that nothing was learned of them."""

    def __str__(self) -> str:
        return f"epoch {self.epoch}: {self.what}: expected {self.expected}, found {self.found}"
