"""Versions are those of this process, whatever is installed beside it meanwhile."""

import ast
import importlib.metadata
from pathlib import Path
from typing import Any

import pytest

from stream.learning.worker_state import WorkerState, environment
from stream.versions import VERSIONS
from tests.support.lives import fast_settings

ROOT = Path(__file__).resolve().parents[2]
ASKS_ON_PURPOSE = {"stream/versions.py", "millstream/diagnosis/doctor/software.py", "millstream/main.py"}
"""The one reader; the doctor, whose question it is; and `--version`, after which the process ends."""


def test_a_package_that_is_upgraded_or_removed_beside_the_process_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = WorkerState(fast_settings(), range(1))
    before = environment(state.learner)

    def gone(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", gone)

    assert environment(state.learner) == before
    assert before["river"] == VERSIONS["river"] != "none"


def test_nobody_else_asks_what_is_installed() -> None:
    asking = {
        path.relative_to(ROOT).as_posix()
        for package in ("stream", "online_models", "producers", "millstream")
        for path in (ROOT / package).rglob("*.py")
        if "importlib.metadata" in imported(path)
    }
    assert asking == ASKS_ON_PURPOSE


def imported(path: Path) -> set[str | None]:
    """Return the modules that a module imports or takes names from."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    from_them = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    return from_them | {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
