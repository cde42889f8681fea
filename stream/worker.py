"""The worker: everything put together, from the first connection to a clean end."""

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack

from online_models import ConfigError as ModelConfigError
from online_models import LearnerConfig, OnlineLearner, limit_cpu_threads
from stream.errors import ConfigError, FencedError, TransactionInDoubt
from stream.health import Health
from stream.http import HttpServer, create_app
from stream.kafka import KafkaTransport
from stream.logs import log_event
from stream.metrics import Metrics
from stream.observe import Observer
from stream.pipeline import Pipeline
from stream.quality import LiveQuality
from stream.settings import Settings

__all__ = ["Worker", "make_learner"]


def make_learner(settings: Settings) -> OnlineLearner:
    """Return an untrained learner as the settings say."""
    model = settings.model
    config = LearnerConfig(
        scorer=model.scorer,
        k=model.k,
        sub_step_events=model.sub_step_events,
        history_length=model.history_length,
        seed=model.seed,
        device=model.device,
    )
    try:
        limit_cpu_threads(model.cpu_threads)
        return OnlineLearner(config, time.perf_counter)
    except ModelConfigError as error:
        raise ConfigError(f"model: {error}") from error


class Worker:
    """Learns from the events topic and publishes lists until it is told to stop.

    Args:
        settings: all settings.

    Raises:
        MillstreamError: it cannot start; the message says what to do.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._health = Health(settings.worker.stall_deadline_seconds, time.monotonic)
        with ExitStack() as undo:
            # First the port and the model, which may be refused for reasons of this machine; then the brokers. The
            # pipeline comes last: it ends the worker that runs now.
            self._server = HttpServer(create_app(self._metrics, self._health), settings.metrics)
            self._server.start()
            undo.callback(self._server.stop)
            self._learner = make_learner(settings)
            self._transport = KafkaTransport(settings)
            undo.callback(self._transport.close)
            self._pipeline = Pipeline(settings, self._transport, self._learner)
            undo.pop_all()
        self._observer = Observer(
            self._metrics,
            LiveQuality(settings.quality, settings.model.k),
            self._learner,
            self._pipeline.encoder,
            settings.model.scorer,
        )

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
        except (FencedError, TransactionInDoubt):
            self._metrics.count("millstream_transactions_total", outcome="aborted")
            raise
        finally:
            self._leave()

    def _round(self) -> None:
        report = self._pipeline.run_once()
        if report is not None:
            self._observer.committed(report, time.monotonic())
        else:
            self._observer.refresh()
        lag = self._transport.lag()
        self._observer.lag(lag)
        self._health.beat(self._pipeline.positions(), lag, self._transport.silent_seconds())

    def _announce(self) -> None:
        settings = self._settings
        log_event(
            logging.INFO,
            "worker_started",
            bootstrap_servers=settings.kafka.bootstrap_servers,
            events=settings.topics.events,
            positions=self._pipeline.positions(),
            epoch=self._pipeline.epoch,
            model=settings.model.scorer,
            device=self._learner.device,
            metrics=f"http://{settings.metrics.host}:{self._server.port}/metrics",
        )
        if self._pipeline.epoch:
            log_event(
                logging.WARNING,
                "model_starts_cold",
                hint=f"offsets go on after epoch {self._pipeline.epoch}, but the model starts untrained: "
                "lists get better as it learns",
            )

    def _leave(self) -> None:
        self._health.stopping()
        self._transport.close()
        self._observer.refresh()
        self._server.stop()
        log_event(logging.INFO, "worker_stopped", epoch=self._pipeline.epoch, positions=self._pipeline.positions())
