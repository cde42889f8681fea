"""The C library's memory, kept by the process from one step to the next."""

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
"""Of glibc's malloc.h."""
_LARGEST_KEPT_BYTES = 32 << 20
"""The most that glibc allows; larger pieces come from the system and go back to it."""
_SETTINGS = {_TRIM_THRESHOLD: -1, _TOP_PAD: 1 << 26, _MMAP_THRESHOLD: _LARGEST_KEPT_BYTES, _ARENA_MAX: 1}


def keep_freed_memory() -> bool:
    """Have freed memory kept for the next request, up to 32 MiB a piece; return whether that could be asked for.

    A step makes and frees tables of one number per event and item. glibc gives large ones back to the system each time,
    which hands the same memory out again page by page, and zeroed: with 70,000 items that is a third of the time. It is
    for the whole process, and what that has taken at its peak it then keeps. To be called before other threads ask for
    memory. Without glibc (macOS, Windows, musl) nothing happens; with another allocator preloaded nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(name, value) == 1 for name, value in _SETTINGS.items())
