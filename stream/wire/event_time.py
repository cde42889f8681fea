"""Which times are event times, by one rule at every door: the number must be a time of our era in milliseconds.

Seconds taken for milliseconds end in January 1970, and microseconds in the year 50000: both are refused with the unit
that they look like, wherever an event comes in.
"""

__all__ = ["FIRST_TIME_MS", "LAST_TIME_MS", "UNIT_NAMES", "likely_unit", "time_problem"]

FIRST_TIME_MS = 100_000_000_000
"""March 1973; a time given in seconds is smaller until the year 5138."""
LAST_TIME_MS = 99_999_999_999_999
"""November 5138; a time given in microseconds is larger since March 1973."""
UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
"""A time from March 1973 to the year 5138 has 1e8 to 1e11 seconds, 1,000 times as many milliseconds, and so on."""
_FIRST_SECONDS = 100_000_000


def likely_unit(count: float) -> str | None:
    """Return what a number since the Unix epoch most likely counts; None where it fits no time of 1973 to 5138.

    Args:
        count: seconds, milliseconds, microseconds or nanoseconds.
    """
    first = _FIRST_SECONDS
    for unit in UNIT_NAMES:
        if first <= count < first * 1_000:
            return unit
        first *= 1_000
    return None


def time_problem(time_ms: int) -> str | None:
    """Return why this is no event time, without the number itself; None: it is one.

    Args:
        time_ms: said to be milliseconds since the Unix epoch.
    """
    unit = likely_unit(time_ms)
    if unit == "ms":
        return None
    if unit is None:
        return (
            "expected milliseconds since 1970, of March 1973 to 5138 (times that count from a start of their own: "
            "'millstream produce --relative-time', or add that start to them)"
        )
    return f"expected milliseconds since 1970, and it looks like {UNIT_NAMES[unit]}"
