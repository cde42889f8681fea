"""Freed memory stays with the process once that was asked for."""

import platform
import subprocess
import sys

import pytest

from online_models import keep_freed_memory

PROGRAM = """
import ctypes
import resource
import sys
from online_models import keep_freed_memory
from pathlib import Path

def megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6

assert "keep" not in sys.argv or keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
before = megabytes()
pieces = [libc.malloc(8_000_000) for _ in range(15)]  # 120 MB
for piece in pieces:
    ctypes.memset(piece, 1, 8_000_000)
for piece in pieces:
    libc.free(piece)
print(megabytes() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_what_was_freed_is_kept_after_that_was_asked_for_and_not_before() -> None:
    kept, given_back = (
        float(subprocess.run([sys.executable, "-c", PROGRAM, *argument], check=True, capture_output=True).stdout)
        for argument in (["keep"], [])
    )

    assert kept > 110
    assert given_back < 60


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    assert keep_freed_memory() is False
