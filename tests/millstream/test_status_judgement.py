"""What `millstream status` makes of what it was told, without anybody to ask."""

import pytest

from millstream.diagnosis.scrape import Scrape
from millstream.diagnosis.senders import senders_of
from millstream.diagnosis.status import (
    FEW_EVALUATED,
    MAX_CHECKPOINT_INTERVALS,
    Status,
    _judge_progress,
    _look_at_metrics,
)
from millstream.diagnosis.worker_client import WorkerPort
from stream.config.settings import Settings
from tests.support.events import NOW_MS, journal_entry

PATIENCE_SECONDS = MAX_CHECKPOINT_INTERVALS * Settings().checkpoints.interval_seconds


@pytest.mark.parametrize(
    ("age_seconds", "is_blamed"), [(1.0, False), (PATIENCE_SECONDS - 1, False), (PATIENCE_SECONDS + 1, True)]
)
def test_a_worker_that_has_just_begun_is_not_blamed_for_having_no_checkpoint(
    age_seconds: float, is_blamed: bool
) -> None:
    metrics = Scrape(f"process_start_time_seconds {NOW_MS / 1000 - age_seconds}\n")
    status = Status(now_ms=NOW_MS, worker=WorkerPort(url="", metrics=metrics), entry=journal_entry(epoch=3))

    _judge_progress(status, Settings())

    assert [found.about for found in status.findings] == ["checkpoint"] * is_blamed


def test_where_nobody_says_when_it_began_a_missing_checkpoint_is_told_of() -> None:
    status = Status(now_ms=NOW_MS, worker=WorkerPort(url=""), entry=journal_entry(epoch=3))

    _judge_progress(status, Settings())

    assert [found.about for found in status.findings] == ["checkpoint"]


@pytest.mark.parametrize(("num_evaluated", "is_said"), [(FEW_EVALUATED - 1, False), (FEW_EVALUATED, True)])
def test_each_event_counts_once_before_a_model_is_called_worse_than_a_baseline(
    num_evaluated: int, is_said: bool
) -> None:
    ratios = {"model": 0.1, "transitions": 0.2, "popularity": 0.05}
    lines = [f'millstream_evaluated_events_total{{model="{model}"}} {num_evaluated}' for model in ratios]
    lines += [f'millstream_ndcg_ratio{{model="{name}",window="sliding"}} {ratio}' for name, ratio in ratios.items()]
    status = Status(NOW_MS, WorkerPort("http://worker:9464", metrics=Scrape("\n".join(lines) + "\n")))

    _look_at_metrics(status)

    assert [found.about for found in status.findings] == ["quality"] * is_said


GOOD = 'millstream_events_total{type="click",outcome="learned"} 95'
SENDERS = {
    "ids": "millstream_reused_ids_total 3",
    "repetitions": 'millstream_events_total{type="click",outcome="duplicate"} 6',
    "keys": "millstream_split_users_total 1",
    "keys too": 'millstream_key_mismatch_total{reason="missing"} 1',
}


@pytest.mark.parametrize("which", SENDERS)
def test_faults_of_senders_are_warned_of_with_what_to_do(which: str) -> None:
    status = Status(NOW_MS, WorkerPort("", metrics=Scrape(f"{GOOD}\n{SENDERS[which]}\n")))

    _look_at_metrics(status)

    [found] = status.findings
    assert (found.level, found.about) == ("warning", which.removesuffix(" too"))
    assert found.fix


def test_a_few_repetitions_and_no_fault_are_not_warned_of() -> None:
    few = 'millstream_events_total{type="click",outcome="duplicate"} 5'
    status = Status(NOW_MS, WorkerPort("", metrics=Scrape(f"{GOOD}\n{few}\nmillstream_reused_ids_total 0\n")))

    _look_at_metrics(status)

    assert status.findings == []


def test_where_no_worker_answers_doctor_says_that_nothing_is_known_of_the_senders() -> None:
    [found] = senders_of("http://127.0.0.1:1")

    assert (found.level, found.about) == ("ok", "senders")
    assert "no worker answers" in found.message
