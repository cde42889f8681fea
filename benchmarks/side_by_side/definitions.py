"""Where a source tree defines what a run needs, found by name, so that modules may move between two commits."""

import ast
import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from benchmarks.side_by_side.errors import CannotCompare

__all__ = ["WANTED", "Wanted", "find_definitions", "packages_of"]

_NO_PACKAGES_OF_OURS = ("tests", "benchmarks", "examples")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A class or function, by all the names that it has had."""

    names: tuple[str, ...]
    package: str = "stream"
    """The top-level package that it is searched in."""


WANTED = {
    "CheckpointStore": Wanted(("CheckpointStore",)),
    "Clocks": Wanted(("Clocks",)),
    "MemoryHistory": Wanted(("MemoryHistory",)),
    "MemoryLog": Wanted(("MemoryLog", "InMemoryLog")),
    "MemoryTransport": Wanted(("MemoryTransport",)),
    "Pipeline": Wanted(("Pipeline",)),
    "Recovery": Wanted(("Recovery",)),
    "Settings": Wanted(("Settings",)),
    "WorkerState": Wanted(("WorkerState",)),
    "digest": Wanted(("digest", "state_digest"), "online_models"),
}
"""What `child.py` calls a thing to where it is looked for. A commit that renames one adds its new name here."""


def packages_of(tree: Path) -> list[str]:
    """Return the names of the packages at the top of a tree that a worker may import, sorted."""
    names = (path.parent.name for path in tree.glob("*/__init__.py"))
    return sorted(name for name in names if name not in _NO_PACKAGES_OF_OURS)


def find_definitions(tree: Path, wanted: dict[str, Wanted] | None = None) -> dict[str, tuple[str, str]]:
    """Return the module that defines each wanted thing, and the name it has there.

    Args:
        tree: the root of a checkout; nothing in it is imported.
        wanted: what to look for; `WANTED` where None.

    Raises:
        CannotCompare: something is defined nowhere, or more than once; the message names all of these.
    """
    wanted = WANTED if wanted is None else wanted
    names = {name for one in wanted.values() for name in one.names}
    found = {package: _defined_in(tree, package, names) for package in {one.package for one in wanted.values()}}
    definitions: dict[str, tuple[str, str]] = {}
    problems: list[str] = []
    for key, one in wanted.items():
        places = [(module, name) for name in one.names for module in found[one.package].get(name, ())]
        if len(places) == 1:
            definitions[key] = places[0]
        else:
            told = ", ".join(f"{module}.{name}" for module, name in places) or "none"
            problems.append(f"{' or '.join(one.names)} in {one.package}/: expected one definition, found {told}")
    if problems:
        raise CannotCompare(
            f"{tree}: {'; '.join(problems)}. If it was renamed, say so in WANTED of "
            "benchmarks/side_by_side/definitions.py"
        )
    return definitions


def _defined_in(tree: Path, package: str, names: Collection[str]) -> dict[str, list[str]]:
    """Return which of the names are classes or functions at the top of modules, each to the modules that define it."""
    modules: dict[str, list[str]] = defaultdict(list)
    mentions = re.compile(rf"\b(class|def)\s+({'|'.join(sorted(names))})\b")  # most files need not be parsed
    for path in sorted((tree / package).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if not mentions.search(text):
            continue
        parts = path.relative_to(tree).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        for node in ast.parse(text, str(path)).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name in names:
                modules[node.name].append(module)
    return modules
