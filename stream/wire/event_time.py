"""Which unit a number most likely counts that stands for a time: seconds taken for milliseconds end in January 1970."""

__all__ = ["FIRST_LIKELY_MS", "LIKELY_UNITS", "likely_unit"]

FIRST_LIKELY_MS = 100_000_000_000
"""March 1973; a time given in seconds is smaller until the year 5138."""
LIKELY_UNITS = ("s", "ms", "us", "ns")
"""A time from March 1973 to the year 5138 has 1e8 to 1e11 seconds, 1,000 times as many milliseconds, and so on."""
FIRST_LIKELY_SECONDS = 100_000_000


def likely_unit(count: float) -> str | None:
    """Return what a number since the Unix epoch most likely counts; None where it fits no time of 1973 to 5138.

    Args:
        count: seconds, milliseconds, microseconds or nanoseconds.
    """
    first = FIRST_LIKELY_SECONDS
    for unit in LIKELY_UNITS:
        if first <= count < first * 1_000:
            return unit
        first *= 1_000
    return None
