"""The worker: everything put together, from the first connection to a clean end."""

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from stream.checkpoint_schedule import Checkpointing
from stream.config.settings import Settings
from stream.durability.checkpoints import CheckpointStore
from stream.durability.recovery import Recovery
from stream.durability.start_point import Beginning
from stream.errors import BrokerUnreachable, FencedError, Stalled, TransactionInDoubt
from stream.failpoints import Watch, unwatched
from stream.http.page import Page
from stream.http.probe_server import HttpServer, create_app
from stream.learning.worker_state import WorkerState
from stream.log.kafka import KafkaHistory, KafkaTransport
from stream.logs import log_event
from stream.pipeline import BatchReport, Clocks, Pipeline
from stream.telemetry.health import Health
from stream.telemetry.metrics import Metrics
from stream.telemetry.observer import Observer

__all__ = ["Worker"]

RECONNECT_SECONDS = 1.0
LAST_WORDS_SECONDS = 15.0
"""Longest wait of a worker that was fenced or is in doubt for a last look at its metrics."""


class Worker:
    """Learns from the events topic and publishes lists until it is told to stop.

    Making one takes the partitions over and rebuilds the state after the newest commit, which can take a while.

    Args:
        settings: all settings.
        beginning: what to start from.
        watch: see `stream.failpoints`.

    Raises:
        MillstreamError: it cannot start; the message says what to do.
    """

    def __init__(self, settings: Settings, beginning: Beginning | None = None, watch: Watch = unwatched) -> None:
        self._settings, self._watch = settings, watch
        self._metrics = Metrics()
        self._last_words_seconds = 0.0
        self._health = Health(settings.worker.stall_deadline_seconds, time.monotonic)
        clocks = Clocks()
        with ExitStack() as undo:
            # First the port and the folder, which may be refused for reasons of this machine; then the brokers. The
            # pipeline comes last: it ends the worker that runs now.
            self._page = Page(settings, self._health) if settings.metrics.page != "off" else None
            routes = self._page.routes() if self._page else []
            self._server = HttpServer(
                create_app(self._metrics, self._health, routes),
                settings.metrics,
                tell_connections=partial(self._metrics.set, "millstream_http_connections"),
            )
            self._server.start()
            undo.callback(self._end_server)
            config = settings.checkpoints
            self._store = None
            if config.url:
                self._store = CheckpointStore(config.url, config.keep, watch, is_group_readable=config.group_readable)
            if self._store is not None:
                undo.callback(self._store.unlock)
            self._transport = self._connect()
            undo.callback(self._transport.close)
            self._recovery = Recovery(
                settings,
                lambda: KafkaHistory(settings),
                self._store,
                lambda: WorkerState(settings, self._transport.partitions),
                watch,
                self._health.starting,
            )
            self._pipeline = Pipeline(
                settings, self._transport, self._recovery, beginning=beginning, clocks=clocks, watch=watch
            )
            self._checkpointing = Checkpointing(
                config,
                self._store,
                self._metrics,
                monotonic=time.monotonic,
                wall_ms=clocks.wall_ms,
                watch=watch,
            )
            undo.callback(self._checkpointing.close)
            self._checkpointing.begin(self._pipeline)
            undo.pop_all()
        self._observer = Observer(self._metrics, self._pipeline.state, settings.model.scorer)
        self._metrics.set("millstream_journal_foreign_records", self._transport.num_foreign_journal_records)
        self._observer.recovered(self._pipeline.recovered, self._pipeline.newest, len(self._recovery.damaged))

    def _connect(self) -> KafkaTransport:
        """Wait for the brokers: a worker that ends because they are away would be started again and again."""
        deadline = time.monotonic() + self._settings.worker.broker_deadline_seconds
        while True:
            try:
                return KafkaTransport(self._settings, self._watch)
            except BrokerUnreachable as error:
                remaining_seconds = deadline - time.monotonic()
                if remaining_seconds <= 0:
                    raise
                self._health.starting("waiting for the brokers")
                log_event(logging.WARNING, "waiting_for_brokers", seconds_left=remaining_seconds, reason=str(error))
                time.sleep(min(RECONNECT_SECONDS, remaining_seconds))

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Work until `should_stop`, which is asked after every batch and a few times a second.

        Raises:
            MillstreamError: the worker cannot go on. Everything committed stays, nothing else is visible; start again.
        """
        self._announce()
        self._health.started()
        try:
            while not should_stop():
                self._round()
            self._health.stopping()
            self._checkpointing.finish(self._pipeline)
        except (FencedError, TransactionInDoubt) as error:
            outcome = "fenced" if isinstance(error, FencedError) else "aborted"
            self._metrics.count("millstream_transactions_total", outcome=outcome)
            self._last_words_seconds = LAST_WORDS_SECONDS
            raise
        finally:
            self._leave()

    def _round(self) -> None:
        pipeline = self._pipeline
        report = pipeline.run_once()
        if report is not None:
            self._observer.committed(report, pipeline.state, time.monotonic())
        else:
            self._observer.refresh(pipeline.state)
        self._checkpointing.after_batch(pipeline)
        lag = self._transport.lag()
        self._observer.lag(lag)
        self._observer.held_back(self._transport.held_back)
        is_full = report is not None and report.is_full
        self._health.beat(pipeline.positions(), lag, self._transport.silent_seconds(), is_full=is_full)
        self._show(report, lag)
        if stalled := self._health.stalled():
            raise Stalled(f"{stalled}, while the brokers answer: start the worker again, it goes on at the last commit")

    def _show(self, report: BatchReport | None, lag: dict[int, int]) -> None:
        """Tell the page of this round. It is for looking at: a mistake in it must not end the stream."""
        if self._page is None:
            return
        try:
            self._page.after_round(self._pipeline, report, lag)
        except Exception:
            log_event(logging.ERROR, "page_failed", hint="the stream goes on, the page stands still until a restart")
            logging.getLogger("millstream").debug("page_failed", exc_info=True)
            self._page.close()
            self._page = None

    def _announce(self) -> None:
        settings, pipeline, recovered = self._settings, self._pipeline, self._pipeline.recovered
        log_event(
            logging.INFO,
            "worker_started",
            bootstrap_servers=settings.kafka.bootstrap_servers,
            events=settings.topics.events,
            positions=pipeline.positions(),
            epoch=pipeline.epoch,
            checkpoint=recovered.checkpoint or "none",
            relearned_batches=recovered.num_batches,
            relearned_records=recovered.num_records,
            recovery_seconds=recovered.seconds,
            model=settings.model.scorer,
            device=pipeline.state.learner.device,
            metrics=f"http://{settings.metrics.host}:{self._server.port}/metrics",
        )
        if recovered.num_lost:
            log_event(
                logging.WARNING,
                "model_knows_a_part",
                lost_batches=recovered.num_lost,
                since_epoch=recovered.origin,
                hint="a batch that is not whole in the log any more ends what can be rebuilt: the new model has "
                "learned only what came after it",
            )
        if recovered.epoch and recovered.origin == recovered.epoch:
            log_event(
                logging.WARNING,
                "model_starts_cold",
                hint=f"offsets go on after epoch {recovered.epoch}, but the model starts untrained, as asked: lists "
                "get better as it learns",
            )

    def _end_server(self) -> None:
        if self._page:
            self._page.close()
        self._server.stop()

    def _leave(self) -> None:
        self._health.stopping()
        self._transport.close()
        self._checkpointing.close()
        if self._store is not None:
            self._store.unlock()
        self._observer.refresh(self._pipeline.state)
        # What was counted a moment ago would be lost with the process: it is served until it was read once more.
        self._metrics.wait_for_reader(self._last_words_seconds)
        self._end_server()
        log_event(logging.INFO, "worker_stopped", epoch=self._pipeline.epoch, positions=self._pipeline.positions())
