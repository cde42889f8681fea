"""Checkpoints cannot be written while the worker runs: the stream goes on, and says so."""

import resource
import shutil
from pathlib import Path
from typing import Any

import pytest

from millstream.local.embedded_broker import free_port
from stream.config.settings import Settings
from tests.support.oracle import assert_as_if_undisturbed
from tests.support.probes import metric, stopped
from tests.support.workers import num_read, produce, until
from tests.system.faults.conftest import Start

pytestmark = pytest.mark.broker

WRITTEN = 'millstream_checkpoints_total{outcome="written"}'
FAILED = 'millstream_checkpoints_total{outcome="failed"}'


@pytest.mark.parametrize("trouble", ["removed", "moved away", "emptied", "without its lock"])
def test_a_folder_that_is_really_gone_is_made_again_and_does_not_end_the_worker(
    trouble: str, settings: Settings, launch: Start, tmp_path: Path
) -> None:
    folder, port = tmp_path / "checkpoints", free_port()
    overrides: dict[str, Any] = {"checkpoints.interval_seconds": 0.2, "metrics.port": port}
    worker = launch(settings, **overrides)
    produce(settings, 0, 50)
    until(lambda: num_read(settings) == 50 and metric(port, WRITTEN) > 0, worker)
    num_written = metric(port, WRITTEN)
    if trouble == "removed":
        shutil.rmtree(folder)
    elif trouble == "moved away":
        folder.rename(tmp_path / "aside")
    elif trouble == "emptied":
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    else:
        (folder / "lock.json").unlink()

    produce(settings, 50, 100)
    until(lambda: num_read(settings) == 100 and metric(port, WRITTEN) > num_written, worker)
    assert metric(port, FAILED) > 0
    assert "checkpoints_locked_again" in worker.text()
    assert stopped(worker) == 0
    assert_as_if_undisturbed(settings, folder, 100)


@pytest.mark.parametrize("trouble", ["the folder is gone", "the disk is full"])
def test_the_stream_goes_on_without_checkpoints_and_writes_them_again_after_the_repair(
    trouble: str, settings: Settings, launch: Start, tmp_path: Path
) -> None:
    folder, aside, port = tmp_path / "checkpoints", tmp_path / "aside", free_port()
    overrides: dict[str, Any] = {"checkpoints.interval_seconds": 0.1, "metrics.port": port}
    worker = launch(settings, **overrides)
    produce(settings, 0, 50)
    until(lambda: num_read(settings) == 50 and metric(port, WRITTEN) > 0, worker)
    pid = worker.process.pid
    if trouble == "the folder is gone":
        folder.rename(aside)
        folder.write_text("in the way")
    else:
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (500_000, resource.RLIM_INFINITY))

    produce(settings, 50, 100)
    until(lambda: num_read(settings) == 100 and metric(port, FAILED) > 0, worker)
    assert "checkpoint_failed" in worker.text()
    produce(settings, 100, 150)
    until(lambda: num_read(settings) == 150, worker)

    if trouble == "the folder is gone":
        folder.unlink()
        aside.rename(folder)
    else:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    num_written = metric(port, WRITTEN)
    produce(settings, 150, 200)
    until(lambda: num_read(settings) == 200 and metric(port, WRITTEN) > num_written, worker)
    assert stopped(worker) == 0
    assert_as_if_undisturbed(settings, folder, 200)
    assert [path.name for path in folder.iterdir() if path.name.startswith(".tmp")] == []
