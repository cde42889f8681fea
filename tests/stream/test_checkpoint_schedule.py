"""When a checkpoint is written, and what becomes of it."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from online_models import digest
from stream.checkpoint_schedule import Checkpointing
from stream.durability.checkpoints import CheckpointStore
from stream.durability.start_point import Beginning
from stream.errors import FencedError, RefusedToStart
from stream.telemetry.metrics import Metrics
from tests.support.events import NOW_MS
from tests.support.lives import Life, Lives, fast_settings

INTERVAL_SECONDS = 60.0
DEADLINE_SECONDS = 60.0


class Gate:
    """Holds the writing thread just before a checkpoint is there, until it is opened; or breaks the disk."""

    def __init__(self) -> None:
        self.is_held, self.is_open = threading.Event(), threading.Event()
        self.is_disk_broken = False
        self.num_copies = 0
        self.is_open.set()

    def __call__(self, instant: str) -> None:
        self.num_copies += instant == "state_copied"
        if instant == "checkpoint_synced":
            self.is_held.set()
            assert self.is_open.wait(DEADLINE_SECONDS)
            if self.is_disk_broken:
                raise OSError(28, "No space left on device")


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.is_open.set()


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    settings = fast_settings(checkpoints={"interval_seconds": INTERVAL_SECONDS})
    lives = Lives(tmp_path / "checkpoints", settings)
    yield lives
    lives.kill()


def learn(lives: Lives) -> None:
    lives.produce(4)
    assert len(lives.lives[-1].run()) == 1


def written(life: Life) -> None:
    """Wait for the thread, and take in what became of its work."""
    assert life.checkpointing._writer is not None
    assert life.checkpointing._writer.wait(DEADLINE_SECONDS)
    life.checkpointing.after_batch(life.pipeline)


def names(lives: Lives) -> list[int]:
    return sorted(int(path.name.removeprefix("epoch-")) for path in lives.folder.glob("epoch-*"))


def shown(life: Life, metric: str) -> float:
    lines = life.metrics.exposition().decode().splitlines()
    (line,) = [line for line in lines if line.startswith(f"millstream_{metric} ")]
    return float(line.split()[1])


def outcomes(life: Life) -> dict[str, float]:
    return {name: shown(life, f'checkpoints_total{{outcome="{name}"}}') for name in ("written", "failed", "skipped")}


def test_the_first_checkpoint_is_due_after_the_interval_and_not_before(lives: Lives, gate: Gate) -> None:
    life = lives.start(watch=gate)
    learn(lives)

    life.clock.advance(INTERVAL_SECONDS - 0.1)
    life.checkpointing.after_batch(life.pipeline)
    assert gate.num_copies == 0

    life.clock.advance(0.1)
    life.checkpointing.after_batch(life.pipeline)
    written(life)
    assert (names(lives), gate.num_copies) == ([1], 1)


def test_the_state_is_copied_only_if_something_was_learned_since_the_last_copy(lives: Lives, gate: Gate) -> None:
    life = lives.start(watch=gate)
    for _ in range(2):  # nothing at all was learned yet
        life.clock.advance(INTERVAL_SECONDS)
        life.checkpointing.after_batch(life.pipeline)
    assert gate.num_copies == 0

    learn(lives)
    for _ in range(3):
        life.clock.advance(INTERVAL_SECONDS)
        life.checkpointing.after_batch(life.pipeline)
        written(life)
    assert gate.num_copies == 1

    learn(lives)
    life.checkpointing.after_batch(life.pipeline)
    written(life)
    assert (gate.num_copies, names(lives)) == (2, [1, 2]), "it was due since long"

    learn(lives)
    life.clock.advance(INTERVAL_SECONDS - 0.1)
    life.checkpointing.after_batch(life.pipeline)
    written(life)
    assert (gate.num_copies, names(lives)) == (2, [1, 2]), "it is not due again yet"


def test_a_checkpoint_is_the_state_it_was_begun_with_while_the_stream_goes_on(lives: Lives, gate: Gate) -> None:
    life = lives.start(watch=gate)
    learn(lives)
    then, totals = digest(life.state()), dict(life.pipeline.state.totals)
    gate.is_open.clear()
    life.clock.advance(INTERVAL_SECONDS)
    life.checkpointing.after_batch(life.pipeline)
    for _ in range(5):
        learn(lives)
    gate.is_open.set()
    written(life)

    manifest, state = CheckpointStore(str(lives.folder), 9).load("epoch-000000000001")
    assert digest(state) == manifest.digest == then != digest(life.state())
    assert (manifest.moment.epoch, manifest.moment.totals) == (1, totals)
    assert sum(manifest.moment.positions.values()) == 4
    assert manifest.moment.chain == lives.journal()[0].chain


def test_while_one_is_being_written_the_next_is_left_out_without_a_copy(
    lives: Lives, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    life = lives.start(watch=gate)
    learn(lives)
    gate.is_open.clear()
    life.clock.advance(INTERVAL_SECONDS)
    life.checkpointing.after_batch(life.pipeline)
    learn(lives)
    life.clock.advance(INTERVAL_SECONDS)
    life.checkpointing.after_batch(life.pipeline)

    assert (gate.num_copies, outcomes(life)["skipped"]) == (1, 1)
    assert "checkpoint_skipped" in [record.message for record in caplog.records]
    gate.is_open.set()
    written(life)
    assert names(lives) == [1]
    life.clock.advance(INTERVAL_SECONDS)
    life.checkpointing.after_batch(life.pipeline)
    written(life)
    assert names(lives) == [1, 2]
    assert outcomes(life) == {"written": 2, "failed": 0, "skipped": 1}


def test_one_that_failed_is_counted_and_told_and_tried_again_after_the_interval(
    lives: Lives, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    life = lives.start(watch=gate)
    learn(lives)
    gate.is_disk_broken = True
    life.clock.advance(INTERVAL_SECONDS)
    life.checkpointing.after_batch(life.pipeline)
    written(life)
    assert outcomes(life) == {"written": 0, "failed": 1, "skipped": 0}
    (failed,) = [record for record in caplog.records if record.message == "checkpoint_failed"]
    assert (failed.levelname, names(lives), life.pipeline.checkpoint) == ("ERROR", [], None)
    learn(lives)  # the stream goes on
    assert gate.num_copies == 1

    gate.is_disk_broken = False
    life.clock.advance(INTERVAL_SECONDS)
    life.checkpointing.after_batch(life.pipeline)
    written(life)
    assert (names(lives), outcomes(life)["written"]) == ([2], 1)


def test_one_that_failed_is_tried_again_although_nothing_was_learned_since(lives: Lives, gate: Gate) -> None:
    life = lives.start(watch=gate)
    learn(lives)
    gate.is_disk_broken = True
    life.clock.advance(INTERVAL_SECONDS)
    life.checkpointing.after_batch(life.pipeline)
    written(life)
    gate.is_disk_broken = False

    life.checkpointing.finish(life.pipeline)

    assert names(lives) == [1]


def test_the_metrics_and_the_journal_tell_of_the_newest_checkpoint(lives: Lives) -> None:
    life = lives.start()
    learn(lives)
    life.clock.advance(INTERVAL_SECONDS)
    life.checkpointing.after_batch(life.pipeline)
    written(life)
    learn(lives)

    size = (lives.folder / "epoch-000000000001" / "state.safetensors").stat().st_size
    assert shown(life, "checkpoint_epoch") == 1
    assert shown(life, "checkpoint_bytes") == size > 1000
    assert shown(life, "checkpoint_seconds") > 0
    assert NOW_MS / 1000 <= shown(life, "checkpoint_last_success_timestamp_seconds") <= NOW_MS / 1000 + 10
    assert [entry.checkpoint for entry in lives.journal()] == [None, "epoch-000000000001"]


def test_a_clean_end_leaves_nothing_to_learn_again(lives: Lives) -> None:
    life = lives.start()
    for _ in range(3):
        learn(lives)

    life.checkpointing.finish(life.pipeline)

    assert names(lives) == [3]
    assert lives.start().recovered.num_batches == 0


def test_a_clean_end_with_nothing_new_writes_nothing(lives: Lives, gate: Gate) -> None:
    life = lives.start(watch=gate)
    life.checkpointing.finish(life.pipeline)
    assert names(lives) == []

    learn(lives)
    for _ in range(2):
        life.checkpointing.finish(life.pipeline)
    assert (names(lives), gate.num_copies) == ([1], 1)

    life = lives.start(watch=gate)
    life.checkpointing.finish(life.pipeline)
    assert gate.num_copies == 1


def test_a_clean_end_waits_for_the_one_that_is_being_written_and_then_writes_the_last(lives: Lives, gate: Gate) -> None:
    life = lives.start(watch=gate)
    learn(lives)
    gate.is_open.clear()
    life.clock.advance(INTERVAL_SECONDS)
    life.checkpointing.after_batch(life.pipeline)
    assert gate.is_held.wait(DEADLINE_SECONDS)
    learn(lives)
    threading.Timer(0.05, gate.is_open.set).start()

    life.checkpointing.finish(life.pipeline)

    assert names(lives) == [1, 2]
    assert outcomes(life) == {"written": 2, "failed": 0, "skipped": 0}


def test_a_disk_that_hangs_does_not_hold_a_clean_end(lives: Lives, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.checkpoint_schedule.FINISH_SECONDS", 0.01)
    life = lives.start(watch=gate)
    learn(lives)
    gate.is_open.clear()

    life.checkpointing.finish(life.pipeline)

    assert names(lives) == []


@pytest.mark.parametrize("kind", ["cold", "beginning"])
def test_what_nothing_else_leads_to_is_written_before_the_first_batch(lives: Lives, kind: str) -> None:
    lives.start()
    learn(lives)

    life = lives.start(how=Beginning(kind))  # type: ignore[arg-type]

    assert names(lives) == [1]
    assert life.pipeline.checkpoint == "epoch-000000000001"
    assert shown(life, "checkpoint_epoch") == 1


@pytest.mark.parametrize("kind", ["cold", "beginning"])
def test_a_start_that_cannot_be_written_down_is_refused(lives: Lives, gate: Gate, kind: str) -> None:
    lives.start()
    learn(lives)
    gate.is_disk_broken = True

    with pytest.raises(RefusedToStart, match="No space left on device"):
        lives.start(how=Beginning(kind), watch=gate)  # type: ignore[arg-type]

    assert len(lives.journal()) == 1


def test_what_was_learned_again_is_written_soon_so_that_the_next_start_need_not_learn_it_once_more(
    lives: Lives,
) -> None:
    lives.start()
    for _ in range(3):
        learn(lives)

    life = lives.start()
    life.checkpointing.after_batch(life.pipeline)  # nothing came yet
    written(life)

    assert names(lives) == [3]
    assert lives.start().recovered.num_batches == 0


def test_a_start_that_learned_nothing_again_writes_nothing(lives: Lives, gate: Gate) -> None:
    life = lives.start()
    learn(lives)
    life.checkpointing.finish(life.pipeline)

    life = lives.start(watch=gate)
    for _ in range(2):
        life.clock.advance(INTERVAL_SECONDS)
        life.checkpointing.after_batch(life.pipeline)

    assert gate.num_copies == 0
    assert shown(life, "checkpoint_epoch") == 1


def test_without_a_folder_nothing_is_written_and_no_thread_is_begun(lives: Lives) -> None:
    life = lives.start(with_store=False)
    learn(lives)
    life.clock.advance(INTERVAL_SECONDS)
    life.checkpointing.after_batch(life.pipeline)
    life.checkpointing.finish(life.pipeline)
    life.checkpointing.close()

    assert life.checkpointing._writer is None
    assert not lives.folder.exists()


def test_a_worker_whose_folder_was_taken_ends_as_fenced(lives: Lives) -> None:
    life = lives.start()
    learn(lives)
    assert life.store is not None
    life.store.unlock()
    life.clock.advance(INTERVAL_SECONDS)
    life.checkpointing.after_batch(life.pipeline)

    with pytest.raises(FencedError):
        written(life)


def test_closing_does_not_wait_for_what_is_being_written_and_it_does_not_count(lives: Lives, gate: Gate) -> None:
    life = lives.start(watch=gate)
    learn(lives)
    gate.is_open.clear()
    life.clock.advance(INTERVAL_SECONDS)
    life.checkpointing.after_batch(life.pipeline)
    assert gate.is_held.wait(DEADLINE_SECONDS)

    life.kill()

    assert names(lives) == []
    gate.is_open.set()
    assert life.checkpointing._writer is not None
    life.checkpointing._writer.close(DEADLINE_SECONDS)
    assert names(lives) == [], "the lock was given back before it was renamed"


def test_a_copy_that_the_system_refuses_is_a_failed_checkpoint_and_no_end(
    lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = lives.start()
    learn(lives)
    life.clock.advance(INTERVAL_SECONDS)

    def refused() -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as few_files:
        few_files.setattr(life.pipeline, "moment", refused)
        life.checkpointing.after_batch(life.pipeline)
    assert outcomes(life) == {"written": 0, "failed": 1, "skipped": 0}

    life.clock.advance(INTERVAL_SECONDS)
    life.checkpointing.after_batch(life.pipeline)
    written(life)
    assert names(lives) == [1]


def test_the_thread_ends_with_its_owner(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    store = CheckpointStore(str(tmp_path), 1)
    settings = fast_settings().checkpoints
    checkpointing = Checkpointing(settings, store, Metrics(), monotonic=lambda: 0.0, wall_ms=lambda: 0)
    (thread,) = set(threading.enumerate()) - before

    checkpointing.close()

    thread.join(DEADLINE_SECONDS)
    assert not thread.is_alive()
