"""When a checkpoint is written, and what becomes of it: between the pipeline and the thread that writes."""

import logging
from collections.abc import Callable

from stream.config.settings import CheckpointSettings
from stream.durability.checkpoints import (
    CheckpointStore,
    CheckpointUnlocked,
    CheckpointWriter,
    Failed,
    Manifest,
    Written,
    name_of,
)
from stream.errors import FencedError, RefusedToStart
from stream.failpoints import Watch, unwatched
from stream.logs import log_event
from stream.pipeline import Pipeline
from stream.telemetry.metrics import Metrics

__all__ = ["Checkpointing"]

FINISH_SECONDS = 30.0
"""Longest wait for a disk at a clean end: a disk that hangs must not hold the process."""


class Checkpointing:
    """Copies the state at the edge of a batch when it is time, and hands the copy to the writing thread.

    Args:
        config: how often.
        store: where to; None: checkpoints are switched off, and nothing here does anything.
        metrics: told of every outcome.
        monotonic: seconds.
        wall_ms: milliseconds since the Unix epoch.
        watch: see `stream.failpoints`.
    """

    def __init__(
        self,
        config: CheckpointSettings,
        store: CheckpointStore | None,
        metrics: Metrics,
        *,
        monotonic: Callable[[], float],
        wall_ms: Callable[[], int],
        watch: Watch = unwatched,
    ) -> None:
        self._config, self._store, self._metrics = config, store, metrics
        self._monotonic, self._wall_ms, self._watch = monotonic, wall_ms, watch
        self._writer = None if store is None else CheckpointWriter(store, wall_ms)
        self._offered_epoch = -1
        self._due = monotonic() + config.interval_seconds

    def begin(self, pipeline: Pipeline) -> None:
        """Write down at once what nothing else leads to; have what was re-learned written soon.

        Raises:
            RefusedToStart: the first could not be written.
        """
        recovered = pipeline.recovered
        if self._store is None:
            return
        self._metrics.set("millstream_checkpoint_interval_seconds", self._config.interval_seconds)
        self._offered_epoch = pipeline.epoch
        manifest = recovered.manifest
        if recovered.is_new:
            manifest = self._write_first(self._store, pipeline)
            pipeline.checkpoint = name_of(manifest.moment.epoch)
            self._set_newer_aside(self._store, pipeline.epoch)  # not before: until then they refuse a plain start
        elif recovered.num_batches:
            self._offered_epoch, self._due = -1, self._monotonic()
        if manifest is not None:
            self._show(manifest)

    def _write_first(self, store: CheckpointStore, pipeline: Pipeline) -> Manifest:
        try:
            return store.write(pipeline.moment(), pipeline.state.state(), self._wall_ms())
        except CheckpointUnlocked:
            pipeline.lock_again()
            return store.write(pipeline.moment(), pipeline.state.state(), self._wall_ms())

    def _set_newer_aside(self, store: CheckpointStore, epoch: int) -> None:
        """Leave no checkpoint of epochs that the journal has lost: each later start would be refused for its sake."""
        for name in store.names():
            if name > name_of(epoch):
                store.set_aside(name)
                log_event(logging.WARNING, "checkpoint_set_aside", checkpoint=name, hint="the journal ends before it")

    def after_batch(self, pipeline: Pipeline) -> None:
        """Begin a checkpoint if it is time; take in what became of earlier ones."""
        if self._writer is None:
            return
        self._take_in(pipeline)  # first: a folder is locked again only while nothing is written
        if pipeline.epoch > max(0, self._offered_epoch) and self._monotonic() >= self._due:
            self._due = self._monotonic() + self._config.interval_seconds
            self._offer(pipeline)
        self._take_in(pipeline)

    def _offer(self, pipeline: Pipeline) -> None:
        assert self._writer is not None
        if self._writer.is_busy():  # asked before the copy is made
            self._metrics.count("millstream_checkpoints_total", outcome="skipped")
            log_event(logging.WARNING, "checkpoint_skipped", hint="the one before is still being written")
            return
        begun = self._monotonic()
        try:
            moment, state = pipeline.moment(), pipeline.state.state()
        except OSError as error:  # no descriptor, no memory file: the stream can do without this checkpoint
            self._failed(Failed(epoch=pipeline.epoch, reason=str(error), seconds=0.0, is_fenced=False), pipeline)
            return
        self._metrics.set("millstream_checkpoint_copy_seconds", self._monotonic() - begun)
        self._watch("state_copied")
        if self._writer.offer(moment, state):
            self._offered_epoch = moment.epoch

    def _take_in(self, pipeline: Pipeline) -> None:
        assert self._writer is not None
        for outcome in self._writer.outcomes():
            if isinstance(outcome, Written):
                self._written(outcome, pipeline)
            else:
                self._failed(outcome, pipeline)

    def _written(self, outcome: Written, pipeline: Pipeline) -> None:
        moment = outcome.manifest.moment
        pipeline.checkpoint = outcome.name
        self._metrics.count("millstream_checkpoints_total", outcome="written")
        self._metrics.set("millstream_checkpoint_seconds", outcome.seconds)
        self._show(outcome.manifest)
        fields = {"epoch": moment.epoch, "bytes": outcome.num_bytes, "seconds": outcome.seconds}
        log_event(logging.INFO, "checkpoint_written", **fields, digest=outcome.manifest.digest[:16])

    def _show(self, manifest: Manifest) -> None:
        num_bytes = sum(facts.num_bytes for facts in manifest.files.values())
        self._metrics.set("millstream_checkpoint_epoch", manifest.moment.epoch)
        self._metrics.set("millstream_checkpoint_bytes", num_bytes)
        self._metrics.set("millstream_checkpoint_last_success_timestamp_seconds", manifest.created_at_ms / 1000)

    def _failed(self, outcome: Failed, pipeline: Pipeline) -> None:
        if outcome.is_fenced:
            raise FencedError(f"the checkpoint of epoch {outcome.epoch} was not written: {outcome.reason}")
        self._offered_epoch = -1
        self._metrics.count("millstream_checkpoints_total", outcome="failed")
        log_event(
            logging.ERROR,
            "checkpoint_failed",
            reason=outcome.reason,
            hint="the stream goes on; a restart re-learns from the checkpoint before. Look at disk and permissions",
        )
        if outcome.is_unlocked:
            self._lock_again(pipeline)

    def _lock_again(self, pipeline: Pipeline) -> None:
        """A lock that is gone is no fence: the brokers say whether another worker is at it, and if not we go on."""
        try:
            pipeline.lock_again()
        except RefusedToStart as refused:
            log_event(logging.ERROR, "checkpoints_unlocked", reason=str(refused), hint="the stream goes on without")
            return
        self._due = self._monotonic()  # what was there may be gone, too
        log_event(logging.WARNING, "checkpoints_locked_again", hint="somebody moved or removed the folder or its lock")

    def finish(self, pipeline: Pipeline) -> None:
        """Write the state as it is now, so that the next start has nothing to re-learn; used at a clean end only."""
        if self._writer is None:
            return
        if not self._writer.wait(FINISH_SECONDS):
            log_event(logging.ERROR, "checkpoint_unfinished", hint="the disk does not answer; a restart re-learns more")
            return
        self._take_in(pipeline)
        for _ in range(2):  # once more where the folder had to be locked again
            if pipeline.epoch > max(0, self._offered_epoch):
                self._offer(pipeline)
                self._writer.wait(FINISH_SECONDS)
                self._take_in(pipeline)

    def close(self) -> None:
        """End the writing thread; what it is writing stays unfinished and does not count."""
        if self._writer is not None:
            self._writer.close()
