"""The application: which path is answered by what."""

from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from stream.config.settings import Settings
from stream.http.api.access_control import Access, Count
from stream.http.api.event_routes import Posting
from stream.http.api.list_routes import Lists
from stream.http.api.list_stream import StreamClients
from stream.http.api.materialized_lists import ListView
from stream.http.api.metrics_route import Exposition
from stream.http.api.openapi import openapi_json
from stream.http.api.problem_details import Problem, answer
from stream.http.api.reference_page import docs_page
from stream.http.api.tokens import TokenFile
from stream.http.api.topic_follower import Follower
from stream.http.rate_limit import RateLimit
from stream.telemetry.health import Verdict
from stream.telemetry.metrics import CONTENT_TYPE, Metrics

__all__ = ["Parts", "create_app"]

PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the application answers from."""

    settings: Settings
    metrics: Metrics
    view: ListView
    follower: Follower
    clients: StreamClients
    posting: Posting
    tokens: TokenFile | None


class EncodedPath:
    """Matches paths as they were sent, still percent-encoded: an id may hold a slash (ASGI middleware).

    Args:
        app: what answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._app({**scope, "path": scope["raw_path"].decode("ascii")}, receive, send)


def create_app(parts: Parts) -> ASGIApp:
    """Return the application of `millstream serve`."""
    config = parts.settings.serve
    lists = Lists(parts.settings, parts.view, parts.follower, parts.clients)
    limit = RateLimit(config.requests_per_second, config.request_burst)
    access = [Middleware(Access, parts.tokens, limit, config.host, config.allowed_hosts)]
    routes = [
        Route("/v1/events", parts.posting.post, methods=["POST"], middleware=access),
        Route("/v1/users/{id}/recommendations", lists.newest, methods=["GET"], middleware=access),
        Route("/v1/users/{id}/recommendations/stream", lists.follow, methods=["GET"], middleware=access),
        *_routes_about_us(parts),
    ]
    middleware = [Middleware(Count, parts.metrics, {route.endpoint: route.path for route in routes})]
    if config.cors_origins:
        middleware.append(_cors(config.cors_origins))
    handlers: dict[Any, Any] = {Problem: _on_problem, HTTPException: _on_http_exception, Exception: _on_error}
    app = Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return EncodedPath(app)


def _routes_about_us(parts: Parts) -> list[Route]:
    has_tokens = parts.tokens is not None

    async def live(_: Request) -> Response:
        return _verdict(parts.follower.live())

    async def ready(_: Request) -> Response:
        return _verdict(parts.follower.ready())

    async def healthy(_: Request) -> Response:
        return _verdict(parts.follower.live())

    exposition = Exposition(parts.metrics, parts.view, parts.follower, parts.clients)

    async def metrics(_: Request) -> Response:
        return Response(exposition.text(), headers={"content-type": CONTENT_TYPE})

    async def openapi(_: Request) -> Response:
        return Response(openapi_json(parts.settings, has_tokens=has_tokens), media_type="application/json")

    async def docs(_: Request) -> Response:
        page = docs_page(parts.settings, has_tokens=has_tokens)
        return HTMLResponse(page, headers={"content-security-policy": PAGE_POLICY})

    return [
        Route("/livez", live),
        Route("/healthz", healthy),
        Route("/readyz", ready),
        Route("/metrics", metrics),
        Route("/openapi.json", openapi),
        Route("/docs", docs),
    ]


_CE_HEADERS = [f"ce-{name}" for name in ("id", "source", "specversion", "time", "type")]


def _cors(origins: tuple[str, ...]) -> Middleware:
    return Middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=["GET", "POST"],
        allow_headers=[
            "authorization",
            "content-encoding",
            "content-type",
            "if-none-match",
            "last-event-id",
            *_CE_HEADERS,
        ],
        expose_headers=["etag", "retry-after"],
    )


def _verdict(verdict: Verdict) -> Response:
    if not verdict.ok:
        return answer(Problem("not-ready", verdict.reason))
    return Response(verdict.reason + "\n", media_type="text/plain")


async def _on_problem(_: Request, problem: Problem) -> Response:
    return answer(problem)


async def _on_http_exception(request: Request, error: HTTPException) -> Response:
    if error.status_code == 405:
        return answer(Problem("bad-method", f"got {request.method[:20]}", error.headers))
    return answer(Problem("no-such-path", "see /docs for the paths that there are"))


async def _on_error(_: Request, __: Exception) -> Response:
    return answer(Problem("internal", "see the server's log"))
