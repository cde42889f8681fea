"""The worker's port: /metrics, /livez, /readyz (and /healthz, as an alias that many probes ask for), and the page."""

import logging
import socket
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from stream.config.settings import MetricsSettings, ServeSettings
from stream.errors import ConfigError
from stream.http.connections import Bounded, Crowd, GuardedProtocol, Listener, connections_at_most
from stream.http.host_check import is_loopback
from stream.logs import log_event
from stream.telemetry.health import Health, Verdict
from stream.telemetry.metrics import CONTENT_TYPE, Metrics

__all__ = ["HttpServer", "create_app"]

STOP_SECONDS = 3.0
MOST_REQUESTS = 256
"""On the worker's port: monitoring, probes, and the viewers of the page."""


def create_app(metrics: Metrics, health: Health, more: Sequence[Route] = ()) -> Starlette:
    """Return the application that serves metrics and probes, and `more` beside them."""

    def expose(_: Request) -> Response:
        metrics.set("millstream_ready", float(health.ready().ok))
        return Response(metrics.exposition(), headers={"content-type": CONTENT_TYPE})

    # Not in the pool of threads, where they would wait for whoever reads the metrics.
    async def live(_: Request) -> Response:
        return _answer(health.live())

    async def ready(_: Request) -> Response:
        return _answer(health.ready())

    return Starlette(
        routes=[
            Route("/metrics", expose),
            Route("/livez", live),
            Route("/healthz", live),
            Route("/readyz", ready),
            *more,
        ]
    )


def _answer(verdict: Verdict) -> Response:
    return PlainTextResponse(verdict.reason + "\n", status_code=200 if verdict.ok else 503)


class HttpServer:
    """Serves an application on a thread of its own.

    Args:
        app: what to serve (ASGI).
        config: host and port; port 0 takes a free one.
        section: where these settings are, for messages.
        tell_connections: is told how many connections there are, after each change.
        most_requests: at a time; fewer where the limit of open files is low. Probes are answered beyond it.
        stop_seconds: how long running requests may take to finish at the end.
        options: of uvicorn, beside ours.

    Raises:
        ConfigError: the address cannot be bound.
    """

    def __init__(
        self,
        app: ASGIApp,
        config: MetricsSettings | ServeSettings,
        *,
        section: str = "metrics",
        tell_connections: Callable[[int], None] = lambda _: None,
        most_requests: int = MOST_REQUESTS,
        stop_seconds: float = STOP_SECONDS,
        **options: Any,
    ) -> None:
        self._stop_seconds = stop_seconds
        most = connections_at_most(most_requests)
        if most < most_requests:
            hint = f"connections to {section}.port are kept to this: raise the limit of open files (ulimit -n)"
            log_event(logging.WARNING, "few_descriptors", connections=most, wanted=most_requests, hint=hint)
        crowd = Crowd(most, section, tell_connections)
        self._socket = _bind(config, section, crowd)
        self.port: int = self._socket.getsockname()[1]
        if isinstance(config, MetricsSettings) and not is_loopback(config.host):  # the lists' server says what it lacks
            log_event(
                logging.WARNING,
                "port_is_open",
                address=f"{config.host}:{self.port}",
                hint="it asks for no login: let only those reach it that should; see docs/security.md",
            )
        ours: dict[str, Any] = {
            "log_config": None,
            "access_log": False,
            "lifespan": "off",
            "loop": "asyncio",  # the limits are those of its accept and of this protocol
            "http": partial(GuardedProtocol, crowd),
            "timeout_graceful_shutdown": 2,
        }
        self._server = uvicorn.Server(uvicorn.Config(Bounded(app, most), **ours | options))
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="millstream-http", daemon=True
        )

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def is_serving(self) -> bool:
        """Return True until it has ended, for whatever reason."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Finish the running requests and end."""
        self._server.should_exit = True
        self._thread.join(self._stop_seconds)
        self._socket.close()


def _bind(config: MetricsSettings | ServeSettings, section: str, crowd: Crowd) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0]
        listener = Listener(family, kind, protocol)
        listener.crowd = crowd
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)  # from here on a probe waits for its answer instead of being refused
    except OSError as error:
        raise ConfigError(
            f"{section}.host, {section}.port: cannot bind {config.host}:{config.port}: {error.strerror}; "
            f"choose another port with --set {section}.port=N (0: any free one)"
        ) from error
    return listener
