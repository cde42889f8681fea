"""What was written by the first rules of decoding, under those of now: refused by name, then continued where asked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.durability.start_point import Beginning
from stream.errors import RefusedToStart
from stream.learning.worker_state import WorkerState
from stream.log.memory import MemoryHistory
from stream.wire.decisions import Decisions
from tests.support.events import NOW_MS, event_bytes, record
from tests.support.lives import Lives
from tests.support.written_before import WrittenBefore, written_before

ACCEPT = Beginning(accept_model_change=True)


@pytest.fixture
def workers() -> Iterator[list[Lives]]:
    begun: list[Lives] = []
    yield begun
    for each in begun:
        each.kill()


def on(written: WrittenBefore, workers: list[Lives]) -> Lives:
    workers.append(Lives(written.folder, written.settings))
    workers[-1].log = written.log
    return workers[-1]


def refusal(lives: Lives, how: Beginning | None = None) -> str:
    with pytest.raises(RefusedToStart) as raised:
        lives.start(how=how)
    return str(raised.value)


def test_after_a_clean_stop_other_rules_of_decoding_are_refused_by_name_until_they_are_accepted(
    tmp_path: Path, workers: list[Lives]
) -> None:
    written = written_before("sequence", tmp_path / "checkpoints")
    of_now = on(written, workers)

    told = "events.decode_version was 1 and is 2; model.version was 6 and is 7"
    assert f"since checkpoint epoch-000000000004: {told}." in refusal(of_now)

    life = of_now.start(how=ACCEPT)
    assert (life.recovered.checkpoint, life.recovered.num_batches) == ("epoch-000000000004", 0)
    assert sum(len(report.records) for report in life.run()) == 16
    assert [(entry.decode_version, entry.settings_since) for entry in written.journal()] == [(1, 0)] * 4 + [(2, 4)] * 2
    again = of_now.start()  # by what the journal tells, nobody has to say it twice
    assert (again.recovered.num_batches, again.recovered.settings_since) == (2, 4)


def test_after_a_crash_the_version_of_before_comes_first_whatever_is_accepted(
    tmp_path: Path, workers: list[Lives]
) -> None:
    of_now = on(written_before("popularity", tmp_path / "checkpoints"), workers)

    for how in (Beginning(), ACCEPT, Beginning(accept_difference=True)):
        message = refusal(of_now, how)

        assert "(events.decode_version was 1 and is 2; model.version was 6 and is 7)" in message
        assert "3 batches after checkpoint epoch-000000000006 were learned by the old ones" in message
        assert "Start the version of Millstream that made it (0.1.0) once and stop with SIGTERM" in message


def test_all_of_the_log_can_be_learned_by_the_rules_of_now(tmp_path: Path, workers: list[Lives]) -> None:
    written = written_before("popularity", tmp_path / "checkpoints")

    life = on(written, workers).start(how=Beginning("beginning"))

    assert life.recovered.num_batches == 9
    assert len(list(MemoryHistory(written.log).entries(1))) == 9


def test_an_id_of_a_window_of_before_is_still_a_repetition(tmp_path: Path) -> None:
    """Such a window does not tell what its events were, so that none of them may be learned twice."""
    written = written_before("popularity", tmp_path / "checkpoints")
    _, saved = written.store.load("epoch-000000000006")
    state = WorkerState(written.settings, range(2))
    window: Any = saved["encoder"]["deduplicator"]  # type: ignore[index, call-overload]
    state.encoder.deduplicator.load(window)

    again = record(event_bytes("somebody", "else", id=window["ids"][-1]), partition=int(window["partitions"][-1]))
    _, encoded = state.read([again], Decisions(decoded_at_ms=NOW_MS))

    assert encoded.num_duplicates == 1
