"""A log, a folder and the workers on them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.lives import Lives


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    lives = Lives(tmp_path / "checkpoints")
    yield lives
    lives.kill()
