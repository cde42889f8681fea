"""The command from end to end: the bundled data, the report, the picture, and one line for what is wrong."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.quality import __main__ as command
from benchmarks.quality.children import Job, measure, missing_package
from benchmarks.quality.metrics import QUALITY
from benchmarks.quality.peers import PEERS, QUICK
from benchmarks.quality.plot import draw
from benchmarks.quality.protocol import Rules
from benchmarks.quality.report import facts_of, merged_seeds
from tests.benchmarks.streams import stream_of

EVENTS = Path(command.__file__).parents[2] / "producers" / "data" / "online_retail" / "events.parquet"


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that the command ends with."""
    assert command.main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.slow
def test_the_command_compares_models_on_the_bundled_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report_path, plot_path = tmp_path / "out.json", tmp_path / "out.png"

    chosen = ["--type", "purchase", "--models", "default,popularity", "--limit", "300"]
    written = ["--report", str(report_path), "--plot", str(plot_path)]

    status = command.main(["--events", str(EVENTS), *chosen, *written])

    printed = capsys.readouterr().out
    assert status == 0
    assert "online_retail: 300 events" in printed
    assert "events on them not evaluated" in printed
    report = json.loads(report_path.read_text())
    assert report["stream"]["num_events"] == 300
    assert report["stream"]["types"] == {"purchase": 300}
    assert list(report["models"]) == ["default", "popularity"]
    ours, theirs = report["models"].values()
    assert ours["num_evaluated"] == theirs["num_evaluated"] > 200
    assert set(QUALITY) <= set(ours)
    assert len(ours["by_tenth"]) == 10
    assert len(ours["fusion_weights_by_tenth"]) == 10
    assert {"first_tenth", "last_half", "last_fifth", "cold_users", "coverage_at_10"} <= set(ours)
    assert ours["peak_mb"] > 100
    assert ours["ms_learn"] > 0
    assert ours["ms_rank"] > 0
    assert plot_path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--events", "gone.parquet"], "error: gone.parquet: expected a file of events, got nothing there"),
        (["--models", "best"], "error: --models: expected all, quick or some of default, transitions"),
        (["--batch", "0"], "error: --batch: expected a whole number >= 1, got 0"),
        (["--seeds", "0,one"], "error: --seeds: expected whole numbers with commas"),
        (["--seeds", "-1"], "error: --seeds: expected whole numbers >= 0"),
        (["--leave-one-out", "--history", "stale"], "leave --history stale out"),
        (["--ties", "up"], "invalid choice"),
        (["--report", "."], "error: --report: expected a file, got the folder ."),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    changed: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in told(["--events", str(EVENTS), "--report", "out.json", *changed], capsys)


def test_a_model_whose_package_is_missing_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    report = tmp_path / "out.json"

    assert command.main(["--events", str(EVENTS), "--models", "als", "--limit", "9", "--report", str(report)]) == 0

    assert json.loads(report.read_text())["not_run"] == {"als": "needs implicit: pip install implicit"}
    assert "not run: als: needs implicit: pip install implicit" in capsys.readouterr().out
    arguments = ["--events", str(EVENTS), "--report", str(report), "--plot", "out.png"]
    assert told(arguments, capsys) == (
        "error: --plot needs matplotlib: pip install matplotlib, or leave --plot out"
    )  # fmt: skip


def test_a_model_that_fails_is_named_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(job: Job, seen: Any) -> dict[str, Any]:
        if job.name == "markov":
            raise command.QualityError("ValueError: no")
        return measure(job, seen)

    monkeypatch.setattr(command, "run_child", run)
    report = tmp_path / "out.json"
    arguments = ["--events", str(EVENTS), "--models", "markov,popularity", "--limit", "90", "--report", str(report)]

    assert command.main(arguments) == 1

    assert json.loads(report.read_text())["failed"] == {"markov": "ValueError: no"}
    assert list(json.loads(report.read_text())["models"]) == ["popularity"]


def test_every_model_has_a_name_and_quick_has_those_that_are_quick() -> None:
    assert set(QUICK) <= {"default", *PEERS}
    assert command.chosen("all") == ["default", *PEERS]
    assert command.chosen("quick,als,default") == [*QUICK, "als"]
    assert [name for name in QUICK if name != "default" and missing_package(name) is not None] == []


def test_figures_of_several_seeds_are_means_with_their_spread() -> None:
    figures = dict.fromkeys(QUALITY, 0.25) | {"by_tenth": [{"hr_at_10": None}], "note": "slow"}
    other = figures | {"ndcg_at_10": 0.75}

    merged = merged_seeds({0: figures, 1: other})

    assert merged["ndcg_at_10"] == 0.5
    assert merged["spread"]["ndcg_at_10"] == 0.5
    assert merged["spread"]["hr_at_10"] == 0.0
    assert merged["by_tenth"] == [{"hr_at_10": None}]
    assert merged["note"] == "slow"
    assert merged["seeds"]["1"]["ndcg_at_10"] == 0.75


def test_a_picture_is_drawn_of_whatever_is_in_the_report(tmp_path: Path) -> None:
    stream = stream_of([0, 1] * 20, [*range(10)] * 4)
    rules = Rules(repeat=True)
    models = {name: measure(Job(name=name, stream=stream, rules=rules)) for name in ("popularity", "own-recent")}
    models["sasrec-offline"] = {**models["popularity"], "ndcg_at_10": None, "hr_at_10_by_fortieth": [None] * 40}

    draw({**facts_of(stream, rules), "models": models}, tmp_path / "deep" / "out.svg")

    drawn = (tmp_path / "deep" / "out.svg").read_text()
    assert drawn.count("<!-- own-recent -->") == 2  # at its line's end and at its bar
