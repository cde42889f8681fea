"""What goes wrong with a comparison before there is anything to compare."""

__all__ = ["CannotCompare", "RunFailed"]


class CannotCompare(ValueError):
    """Wrong usage, such as a commit that is not there, or a tree that cannot be driven; the message says what to do."""


class RunFailed(RuntimeError):
    """A tree could not carry the stream to its end; the message says how its process ended."""
