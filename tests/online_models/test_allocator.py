"""Freed memory stays with the process once that was asked for."""

import platform
import subprocess
import sys

import pytest

from online_models import keep_freed_memory

PROGRAM = """
import resource
import sys
import torch
from online_models import keep_freed_memory
from pathlib import Path

def megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6

assert "keep" not in sys.argv or keep_freed_memory()
torch.ones(1)
before = megabytes()
for _ in range(3):
    table = torch.ones(40_000_000)
    del table
print(megabytes() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_what_was_freed_is_kept_after_that_was_asked_for_and_not_before() -> None:
    kept, given_back = (
        float(subprocess.run([sys.executable, "-c", PROGRAM, *argument], check=True, capture_output=True).stdout)
        for argument in (["keep"], [])
    )

    assert 150 < kept < 400  # 160 MB, once and not three times
    assert given_back < 60


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    assert keep_freed_memory() is False
