"""Source trees to run: a commit in a git worktree of its own, or a copy of the working tree as it is now."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.side_by_side.definitions import packages_of
from benchmarks.side_by_side.errors import CannotCompare

__all__ = ["WORKING_TREE", "Tree", "resolve", "tree_of"]

WORKING_TREE = "the working tree"
"""What the reports call it."""


@dataclass(frozen=True, slots=True)
class Tree:
    """Sources that nobody changes while they run."""

    name: str
    """Short hash of the commit, or `WORKING_TREE`."""
    folder: Path


def resolve(root: Path, commit: str) -> str:
    """Return the full hash of a commit, which may be named in any of git's ways.

    Raises:
        CannotCompare: there is no such commit, or `root` is in no git repository.
    """
    done = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
    if done.returncode == 0:
        return done.stdout.strip()
    if _git(root, "rev-parse", "--git-dir").returncode != 0:
        raise CannotCompare(f"{root}: expected a git repository, whose commits can be checked out: run this in a clone")
    raise CannotCompare(
        f"{commit}: expected a commit of this repository, found none of that name. `git log --oneline` lists them; "
        "if it is of another branch or of before a shallow clone, `git fetch --all` or `git fetch --unshallow` gets it"
    )


@contextmanager
def tree_of(root: Path, commit: str | None, folder: Path) -> Iterator[Tree]:
    """Provide a tree below `folder`, and take it away again however the block ends.

    Args:
        root: the checkout, which is only read.
        commit: a full hash; None: the working tree, with all that is not committed.
        folder: does not exist yet.

    Raises:
        CannotCompare: git cannot check the commit out.
    """
    if commit is None:
        for package in packages_of(root):
            shutil.copytree(root / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        try:
            yield Tree(WORKING_TREE, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    try:
        done = _git(root, "worktree", "add", "--quiet", "--detach", str(folder), commit)
        if done.returncode != 0:
            raise CannotCompare(f"{commit}: git cannot check it out into {folder}: {done.stderr.strip()}")
        yield Tree(commit[:7], folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _git(root, "worktree", "prune")


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # In a hook, variables of git's own would lead to another repository; and no hook is to run for a tree that goes.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(root), "-c", f"core.hooksPath={os.devnull}", *arguments]
    try:
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise CannotCompare("git: expected to find this program, did not: install it") from error
