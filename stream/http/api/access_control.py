"""What stands before the application: counting every request, and letting in who has a token and asks not too often."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream.http.api.problem_details import Problem, answer
from stream.http.api.tokens import TokenFile
from stream.http.host_check import may_be_asked_as
from stream.http.rate_limit import RateLimit
from stream.telemetry.metrics import Metrics

__all__ = ["Access", "Count"]

METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS"})


class Count:
    """Counts and times every request, and sends the headers that every answer has (ASGI middleware).

    Args:
        app: what answers.
        metrics: of `SERVE_METRICS`.
        routes: endpoint to the path that it is counted under.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: Mapping[Any, str]) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.perf_counter()

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
                self._count(scope, message["status"], time.perf_counter() - began)
            await send(message)

        try:
            await self._app(scope, receive, send_counted)
        except Exception:
            self._count(scope, 500, time.perf_counter() - began)  # answered further out
            raise

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route = self._routes.get(scope.get("endpoint"), "other")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._metrics.count("millstream_serve_requests_total", route=route, method=method, status=str(status))
        self._metrics.observe("millstream_serve_request_seconds", seconds, route)


class Access:
    """Lets in who has a token, where tokens are asked for, and asks not too often (ASGI middleware).

    A client is a valid token, or else an address: whoever guesses tokens is slowed down by his address.

    Args:
        app: what answers.
        tokens: None: no token is asked for, and the port answers only to the names that it may be asked as.
        limit: how often.
        bound_host: where this listens.
        allowed_hosts: by which names it may be asked, beside those of this machine.
    """

    def __init__(
        self,
        app: ASGIApp,
        tokens: TokenFile | None,
        limit: RateLimit,
        bound_host: str,
        allowed_hosts: Sequence[str] = (),
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._limit = limit
        self._bound_host, self._allowed_hosts = bound_host, allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        app = self._app
        try:
            self._admit(Request(scope))
        except Problem as problem:
            app = answer(problem)
        await app(scope, receive, send)

    def _admit(self, request: Request) -> None:
        host = request.headers.get("host", "")
        if self._tokens is None and not may_be_asked_as(host, self._bound_host, self._allowed_hosts):
            expected = "http://localhost, one of serve.allowed_hosts, or a token (serve.tokens_file)"
            raise Problem("wrong-host", f"expected as its address {expected}")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        is_bearer = scheme.lower() == "bearer"
        holder = self._tokens.holder(token.strip()) if self._tokens is not None and is_bearer else None
        address = request.client.host if request.client else ""
        seconds = self._limit.wait_seconds(f"token {holder}" if holder else f"address {address}")
        if seconds > 0:
            wait = {"retry-after": str(math.ceil(seconds))}
            raise Problem("too-many-requests", f"expected a pause of {seconds:.3g} s (serve.requests_per_second)", wait)
        if self._tokens is not None and holder is None:
            challenge = 'Bearer realm="millstream"' + (', error="invalid_token"' if is_bearer else "")
            raise Problem(
                "unauthorized",
                "this token is not valid" if is_bearer else "expected the header Authorization: Bearer TOKEN",
                {"www-authenticate": challenge},
            )
