"""Source trees for a comparison: where they define things, how they are checked out, and what ends their process."""

import importlib
from pathlib import Path

import pytest

from benchmarks.side_by_side.child import strangers
from benchmarks.side_by_side.definitions import Wanted, find_definitions, packages_of
from benchmarks.side_by_side.errors import CannotCompare, RunFailed
from benchmarks.side_by_side.events import draw_records
from benchmarks.side_by_side.runs import make_job, run_tree
from benchmarks.side_by_side.trees import WORKING_TREE, Tree, resolve, tree_of
from tests.support.repositories import git, needs_git, repository, write_tree

ROOT = Path(__file__).resolve().parents[2]


# Where things are defined.


def test_a_definition_is_found_wherever_it_is_and_by_any_of_its_names(tmp_path: Path) -> None:
    tree = write_tree(
        tmp_path,
        {
            "stream/__init__.py": "from stream.log.memory import Log",
            "stream/log/memory.py": "class Log:\n    class Start: ...\n    def digest(self): ...",
            "stream/durability/__init__.py": "class StartPoint: ...",
            "online_models/state.py": "def digest(state): ...",
            "stream/tools.py": "def digest(text): ...",
            "tests/__init__.py": "class Log: ...",
        },
    )
    wanted = {
        "Log": Wanted(("Log",)),
        "Start": Wanted(("Start", "StartPoint")),
        "digest": Wanted(("digest",), "online_models"),
    }

    assert find_definitions(tree, wanted) == {
        "Log": ("stream.log.memory", "Log"),
        "Start": ("stream.durability", "StartPoint"),
        "digest": ("online_models.state", "digest"),
    }
    assert packages_of(tree) == ["stream"]


def test_what_is_defined_nowhere_or_twice_is_told_with_what_to_do(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, {"stream/a.py": "class Log: ...", "stream/b.py": "class Log: ...\nPipeline = Log"})

    with pytest.raises(CannotCompare) as told:
        find_definitions(tree, {"Log": Wanted(("Log",)), "Pipeline": Wanted(("Pipeline", "Way"))})

    assert "Log in stream/: expected one definition, found stream.a.Log, stream.b.Log" in str(told.value)
    assert "Pipeline or Way in stream/: expected one definition, found none" in str(told.value)
    assert "say so in WANTED of benchmarks/side_by_side/definitions.py" in str(told.value)


def test_modules_of_another_tree_are_strangers(tmp_path: Path) -> None:
    importlib.import_module("online_models")

    assert strangers(ROOT, ["online_models"]) == []
    assert "online_models" in {told.partition(" ")[0] for told in strangers(tmp_path, ["online_models"])}


# Trees and processes.


@needs_git
def test_a_commit_is_checked_out_and_gone_again_however_it_ends(tmp_path: Path) -> None:
    root = repository(tmp_path / "r", {"stream/__init__.py": "then"})
    (root / "stream/__init__.py").write_text("now")
    commit = resolve(root, "HEAD")

    def interrupted() -> None:
        with tree_of(root, commit, tmp_path / "t") as tree:
            assert (tree.name, tree.folder) == (commit[:7], tmp_path / "t")
            assert (tree.folder / "stream/__init__.py").read_text() == "then"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert not (tmp_path / "t").exists()
    assert len(git(root, "worktree", "list").splitlines()) == 1


@needs_git
def test_the_working_tree_is_taken_as_it_is_and_stays_so(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "r", {"stream/__init__.py": "now", "tests/__init__.py": ""})

    with tree_of(root, None, tmp_path / "t") as tree:
        (root / "stream/__init__.py").write_text("later")

        assert tree.name == WORKING_TREE
        assert (tree.folder / "stream/__init__.py").read_text() == "now"
    assert not (tmp_path / "t").exists()


@needs_git
def test_an_unknown_commit_and_a_folder_without_commits_are_told_with_what_to_do(tmp_path: Path) -> None:
    root = repository(tmp_path / "r", {"a": ""})

    with pytest.raises(CannotCompare, match=r"nowhere: expected a commit of this repository.*git log --oneline"):
        resolve(root, "nowhere")
    with pytest.raises(CannotCompare, match=r"expected a git repository.*run this in a clone"):
        resolve(tmp_path, "HEAD")


def test_a_tree_that_fails_is_named_with_the_status_of_its_process(tmp_path: Path) -> None:
    names = {"online_models/__init__.py": "def digest(): ...", "stream/__init__.py": ""}
    classes = sorted(key for key in find_definitions(ROOT) if key != "digest")
    broken = "\n".join(f"class {name}: ..." for name in classes) + "\nraise SystemExit(3)"
    tree = Tree("abc1234", write_tree(tmp_path / "t", {**names, "stream/all.py": broken}))

    with pytest.raises(RunFailed, match=r"abc1234: its process ended with status 3"):
        run_tree(tree, make_job(draw_records(20), 4), tmp_path / "run")
