"""The HTTP server: everything put together, from the first connection to a clean end."""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from stream.config.settings import ServeSettings, Settings
from stream.errors import BrokerUnreachable, MillstreamError, RefusedToStart
from stream.http.api.app import Parts, create_app
from stream.http.api.event_routes import Posting
from stream.http.api.list_stream import StreamClients
from stream.http.api.materialized_lists import ListView
from stream.http.api.tls import Certificate
from stream.http.api.tokens import TokenFile
from stream.http.api.topic_follower import Follower
from stream.http.host_check import is_loopback
from stream.http.probe_server import HttpServer
from stream.log.kafka import AcknowledgedProducer, missing_topics
from stream.logs import log_event
from stream.telemetry.metrics import SERVE_METRICS, Metrics

__all__ = ["ListServer"]

WATCH_SECONDS = 0.2
REFRESH_SECONDS = 5.0
MAX_REQUESTS = 1_000
"""Beyond those who follow a user; from there on a request is refused at once, but never a probe."""


class ListServer:
    """Serves lists and takes events over HTTP until it is told to stop.

    Making one binds the address; the brokers may be away, and are waited for.

    Args:
        settings: all settings.

    Raises:
        ConfigError: address, tokens or certificate cannot be used, or the brokers refuse the login.
        RefusedToStart: topics are missing.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        config = settings.serve
        tokens = TokenFile(config.tokens_file) if config.tokens_file else None
        self._certificate = Certificate.of(config)
        metrics = Metrics(SERVE_METRICS)
        view = ListView(config.max_users)
        self._follower = Follower(settings, view)
        self._clients = StreamClients(config.max_stream_clients)
        producer = AcknowledgedProducer(settings.kafka, settings.topics.events, config.ack_timeout_seconds)
        self._posting = Posting(settings, producer, metrics)
        app = create_app(Parts(settings, metrics, view, self._follower, self._clients, self._posting, tokens))
        stop_seconds = config.ack_timeout_seconds + 5
        self._server = HttpServer(
            app,
            config,
            section="serve",
            tell_connections=partial(metrics.set, "millstream_serve_connections"),
            most_requests=MAX_REQUESTS + config.max_stream_clients,
            stop_seconds=stop_seconds,
            **_options(config, self._certificate, stop_seconds),
        )
        self.port = self._server.port
        """Where it listens."""
        self._server.start()  # probes are answered from here on
        try:
            _refuse_missing_topics(settings)
        except MillstreamError:
            self._server.stop()
            raise
        self._follower.start()

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Serve until `should_stop`, which is asked a few times a second.

        Raises:
            MillstreamError: a part has ended by itself; start again.
        """
        self._announce()
        refreshed_at = time.monotonic()
        try:
            while not should_stop():
                time.sleep(WATCH_SECONDS)
                if self._certificate is not None and time.monotonic() - refreshed_at > REFRESH_SECONDS:
                    refreshed_at = time.monotonic()
                    self._certificate.refresh()
                if not self._follower.live().ok or not self._server.is_serving():
                    raise MillstreamError(f"{self._follower.live().reason}; serving: {self._server.is_serving()}")
        finally:
            self.close()

    def close(self) -> None:
        """Let clients go, finish the running requests, and disconnect."""
        self._follower.stop()
        self._clients.close()
        self._server.stop()
        self._posting.close()
        log_event(logging.INFO, "serve_stopped")

    def _announce(self) -> None:
        config = self._settings.serve
        scheme = "http" if self._certificate is None else "https"
        log_event(
            logging.INFO,
            "serve_started",
            url=f"{scheme}://{config.host}:{self.port}/docs",
            bootstrap_servers=self._settings.kafka.bootstrap_servers,
            tokens="asked for" if config.tokens_file else "not asked for",
        )
        if not is_loopback(config.host) and (config.tokens_file is None or self._certificate is None):
            missing = [
                name
                for name, value in (
                    ("serve.tokens_file", config.tokens_file),
                    ("serve.tls_certfile", self._certificate),
                )
                if value is None
            ]
            hint = "other machines can reach this: see docs/serving.md, or put a proxy before it that does this"
            log_event(logging.WARNING, "serve_is_open", without=", ".join(missing), hint=hint)


def _options(config: ServeSettings, certificate: Certificate | None, stop_seconds: float) -> dict[str, Any]:
    options: dict[str, Any] = {
        "ws": "none",
        "server_header": False,
        "proxy_headers": bool(config.trusted_proxies),
        "forwarded_allow_ips": list(config.trusted_proxies),
        "timeout_graceful_shutdown": int(stop_seconds),
    }
    if certificate is not None:
        options["ssl_context_factory"] = lambda _config, _default: certificate.context
    return options


def _refuse_missing_topics(settings: Settings) -> None:
    try:
        missing = {settings.topics.events, settings.topics.recommendations} & set(missing_topics(settings))
    except BrokerUnreachable as error:
        log_event(logging.WARNING, "waiting_for_brokers", reason=str(error))
        return
    if missing:
        raise RefusedToStart(
            f"missing on {settings.kafka.bootstrap_servers}: topic {', '.join(sorted(missing))}. "
            "Create what is missing with 'millstream topics create'"
        )
