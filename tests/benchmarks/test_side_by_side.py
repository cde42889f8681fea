"""Two trees side by side: what differs is found and named, and what does not is equal, wherever the modules are."""

import importlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.side_by_side import __main__ as command
from benchmarks.side_by_side.child import carry
from benchmarks.side_by_side.compare import compare, differing_fields
from benchmarks.side_by_side.definitions import find_definitions
from benchmarks.side_by_side.errors import CannotCompare, RunFailed
from benchmarks.side_by_side.events import draw_records
from benchmarks.side_by_side.runs import Findings, make_job
from tests.support.repositories import git, needs_git, repository

ROOT = command.ROOT


# The stream.


def test_the_stream_is_the_same_twice_and_comes_in_both_partitions() -> None:
    records = draw_records(200)

    assert records == draw_records(200)
    assert {record.partition for record in records} == {0, 1}
    assert [record.timestamp_ms for record in records] == sorted(record.timestamp_ms for record in records)


def test_more_events_than_there_are_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.side_by_side.events.DATASET", "otto-mini")

    with pytest.raises(CannotCompare, match=r"--events: expected at most 862, all that otto-mini has, got 863"):
        draw_records(863)


# One run.


def small_run(folder: Path, **parts: Any) -> Findings:
    """Return what comes of 300 events and the scorer that learns fastest, in this process; some parts may be others."""
    ours = {key: imported(key) for key in find_definitions(ROOT)}
    job = make_job(draw_records(300), 36, "transitions")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return msgspec.convert(carry(ours | parts, msgspec.to_builtins(job, builtin_types=(bytes,))), Findings)


def imported(key: str) -> Any:
    """Return a class or function of this tree, wherever it is defined."""
    module, name = find_definitions(ROOT)[key]
    return getattr(importlib.import_module(module), name)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """What comes of it in this tree as it is."""
    return small_run(tmp_path_factory.mktemp("usual"))


@pytest.mark.slow
def test_two_runs_of_one_tree_are_equal(usual: Findings, tmp_path: Path) -> None:
    rows = compare(usual, small_run(tmp_path))

    assert [row.what for row in rows if row.is_equal] == ["lists", "dead letters", "journal", "state"]
    assert all(count > 0 for row in rows for count in row.counts)


@pytest.mark.slow
def test_a_run_meets_malformed_repeated_and_late_events(usual: Findings) -> None:
    counts = [json.loads(value)["counts"] for value in usual.journal]

    totals = {name: sum(each[name] for each in counts) for name in ("dead_letters", "duplicates", "late", "learned")}
    assert min(totals.values()) > 0


def test_the_second_worker_learns_again_what_the_checkpoint_does_not_hold(usual: Findings) -> None:
    checkpoints = [json.loads(value)["checkpoint"] for value in usual.journal]

    # Of 9 batches the checkpoint holds 4; the worker is killed after 5, so that the second one has 1 to learn again.
    assert [bool(name) for name in checkpoints] == [False] * 4 + [True] * 5
    assert list(usual.digests) == ["when killed", "recovered", "at the end"]
    assert usual.digests["when killed"] == usual.digests["recovered"] != usual.digests["at the end"]


@pytest.mark.slow
def test_a_made_up_change_of_the_journal_is_named_and_can_be_allowed(usual: Findings, tmp_path: Path) -> None:
    class Tardy(imported("MemoryTransport")):  # type: ignore[misc]
        def commit(self, records: Sequence[Any], offsets: Any) -> None:
            for record in records:
                if record.topic == "millstream.journal":
                    object.__setattr__(record, "value", record.value.replace(b'"late":', b'"tardy":'))
            super().commit(records, offsets)

    changed = small_run(tmp_path, MemoryTransport=Tardy)

    [row] = [row for row in compare(usual, changed) if not row.is_equal]
    assert (row.what, row.difference) == ("journal", "1: counts")
    assert all(row.is_equal for row in compare(usual, changed, ["counts"]))
    assert not all(row.is_equal for row in compare(usual, changed, ["effort"]))


@pytest.mark.slow
def test_a_tree_that_learns_something_else_differs_in_lists_journal_and_state(usual: Findings, tmp_path: Path) -> None:
    def state(settings: Any, partitions: Any) -> Any:
        evidence = settings.evidence.model_copy(update={"purchase": 0.5})
        return imported("WorkerState")(settings.model_copy(update={"evidence": evidence}), partitions)

    rows = {row.what: row for row in compare(usual, small_run(tmp_path, WorkerState=state))}

    assert [what for what, row in rows.items() if row.is_equal] == ["dead letters"]
    assert rows["state"].difference == "1: when killed"


# The comparison.


def findings(**fields: Any) -> Findings:
    """Return what a run of one batch could leave, with other fields where they are given."""
    digests = {"when killed": "a", "recovered": "a", "at the end": "b"}
    letter = (b"ana", b"bad", [("millstream.error.code", b"not_json"), ("millstream.error.version", b"0.1")])
    usual = {"lists": [(b"ana", b'{"user":"ana"}')], "dead_letters": [letter], "journal": [b'{"epoch":1,"chain":"c"}']}
    return Findings(**{**usual, "digests": digests, **fields})


CHANGES = {
    "a list": ({"lists": [(b"ana", b'{"user":"ben"}')]}, "lists", "1: of b'ana': user"),
    "the key of a list": ({"lists": [(b"ben", b'{"user":"ana"}')]}, "lists", "1: keys b'ana' and b'ben'"),
    "one list more": ({"lists": [(b"ana", b'{"user":"ana"}'), (b"b", b"{}")]}, "lists", "2: only on one side"),
    "the order of the fields": (
        {"journal": [b'{"chain":"c","epoch":1}']},
        "journal",
        "1: the same fields in another order or form",
    ),
    "a field that is missing": ({"journal": [b'{"epoch":1}']}, "journal", "1: chain"),
    "the value of a letter": ({"dead_letters": [(b"ana", b"worse", [])]}, "dead letters", "1: value, headers"),
    "a header of a letter": (
        {"dead_letters": [(b"ana", b"bad", [("millstream.error.code", b"empty")])]},
        "dead letters",
        "1: headers millstream.error.code",
    ),
    "the state at the end": (
        {"digests": {"when killed": "a", "recovered": "a", "at the end": "c"}},
        "state",
        "3: at the end",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_differs_is_found_and_told(name: str) -> None:
    fields, what, difference = CHANGES[name]

    rows = compare(findings(), findings(**fields))

    assert [(row.what, row.difference) for row in rows if not row.is_equal] == [(what, difference)]
    assert all((row.hashes[0] == row.hashes[1]) == row.is_equal for row in rows)


def test_the_version_in_a_dead_letter_may_differ() -> None:
    letter = (b"ana", b"bad", [("millstream.error.code", b"not_json"), ("millstream.error.version", b"0.2")])

    assert all(row.is_equal for row in compare(findings(), findings(dead_letters=[letter])))


def test_a_header_of_a_dead_letter_can_be_allowed_to_be_new() -> None:
    letter = (b"ana", b"bad", [("millstream.error.code", b"not_json"), ("millstream.error.format", b"2")])
    newer = findings(dead_letters=[letter])

    assert [row.difference for row in compare(findings(), newer) if not row.is_equal] == [
        "1: headers millstream.error.format"
    ]
    assert all(row.is_equal for row in compare(findings(), newer, ["millstream.error.format"]))


def test_a_restart_that_changes_the_state_is_not_equal_even_where_both_trees_do_it() -> None:
    lost = {"when killed": "a", "recovered": "x", "at the end": "b"}

    [row] = [row for row in compare(findings(digests=lost), findings(digests=lost)) if not row.is_equal]

    assert (row.what, row.difference) == ("recovery", "the state after the restart is another: before, after")


def test_fields_that_differ_or_are_on_one_side_only_are_named() -> None:
    one, other = b'{"same":[1],"other":1,"gone":null}', b'{"same":[1],"other":2,"new":0}'

    assert differing_fields(one, other) == ["other", "gone", "new"]


# The command.


QUICK = ["--events", "150", "--batch", "20", "--scorer", "transitions"]


@pytest.mark.slow
@needs_git
def test_the_command_finds_a_tree_with_a_module_elsewhere_equal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "r"
    for package in ("stream", "online_models"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    repository(root, {})
    module = find_definitions(root)["MemoryLog"][0]
    path = root / (module.replace(".", "/") + ".py")
    path.rename(root / "stream" / "moved_elsewhere.py")
    for source in root.rglob("*.py"):
        source.write_text(source.read_text().replace(f"from {module} import", "from stream.moved_elsewhere import"))

    assert find_definitions(root)["MemoryLog"][0] == "stream.moved_elsewhere"

    status = command.main(["HEAD", *QUICK, "--json", str(tmp_path / "r.json")], root)

    printed = capsys.readouterr().out
    assert status == command.EQUAL
    assert "equal: 150 events in batches of 20" in printed
    report = json.loads((tmp_path / "r.json").read_text())
    assert [row["what"] for row in report["rows"]] == ["lists", "dead letters", "journal", "state"]
    assert all(row["is_equal"] and row["counts"][0] > 0 for row in report["rows"])
    assert report["is_equal"] is True
    assert min(report["cpu_seconds"]) > min(report["stream_cpu_seconds"]) > 0
    assert len(git(root, "worktree", "list").splitlines()) == 1


class MadeUpRuns:
    """Stands for the processes: what came of the one run and of the other, or what ends them."""

    def __init__(self, *found: Findings | BaseException) -> None:
        self._found = list(found)

    def __call__(self, *_: Any) -> Findings:
        found = self._found.pop(0)
        if isinstance(found, BaseException):
            raise found
        return found


def with_runs(monkeypatch: pytest.MonkeyPatch, root: Path, *found: Findings | BaseException) -> Path:
    monkeypatch.setattr(command, "run_tree", MadeUpRuns(*found))
    monkeypatch.setattr(command, "find_definitions", lambda tree: {})
    return repository(root, {"stream/__init__.py": ""})


@needs_git
def test_the_command_says_what_differs_unless_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = findings(journal=[b'{"epoch":1,"chain":"c","model_version":7}'])
    root = with_runs(monkeypatch, tmp_path / "r", findings(), newer, findings(), newer)

    assert command.main(["HEAD", "HEAD", *QUICK], root) == command.DIFFERENT
    printed = capsys.readouterr().out
    assert "journal: the first that differs is 1: model_version" in printed
    assert "different: 150 events" in printed

    assert command.main(["HEAD", "HEAD", *QUICK, "--but", "model_version,chain"], root) == command.EQUAL
    assert "equal, but for model_version, chain: 150 events" in capsys.readouterr().out


@needs_git
@pytest.mark.parametrize(("end", "status"), [(KeyboardInterrupt(), 130), (RunFailed("it failed"), 1)])
def test_a_run_that_ends_early_leaves_no_tree_behind(
    end: BaseException, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    root = with_runs(monkeypatch, tmp_path / "r", findings(), end)

    assert command.main(["HEAD", *QUICK], root) == status
    assert len(git(root, "worktree", "list").splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


@needs_git
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: expected a commit of this repository"),
        (["HEAD", "--events", "10", "--batch", "5"], "expected at least 4 batches, got 2"),
        (["HEAD", *QUICK], "expected one definition, found none"),
    ],
)
def test_wrong_usage_is_told_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = repository(tmp_path / "r", {"stream/__init__.py": "", "online_models/__init__.py": ""})

    assert command.main(arguments, root) == command.WRONG_USAGE
    [line] = capsys.readouterr().err.splitlines()
    assert message in line
