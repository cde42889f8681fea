"""Durations for people."""

__all__ = ["duration"]

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


def duration(seconds: float) -> str:
    """Return a duration in the largest unit that it has two of; below 0 counts as 0."""
    for unit, length in _UNITS:
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
