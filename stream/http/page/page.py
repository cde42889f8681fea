"""The page put together: its routes, what they ask the worker, and what the worker's loop does for it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from importlib.resources import files
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stream.config.settings import Settings
from stream.http.host_check import is_loopback, may_be_asked_as
from stream.http.page.interactive_queries import NoAnswer, Questions
from stream.http.page.item_titles import Titles
from stream.http.page.live_figures import Board
from stream.http.page.server_sent_events import MOST_VIEWERS, LiveFeed
from stream.http.page.snapshot import Snapshot, Tick, UserAnswer
from stream.http.page.user_lookup import answer_about
from stream.http.rate_limit import RateLimit
from stream.pipeline import BatchReport, Clocks, Pipeline
from stream.telemetry.health import Health

__all__ = ["Page"]

Answer = TypeVar("Answer")

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of everything that the page serves: nothing from elsewhere runs, nothing elsewhere may read or frame it."""
ASSETS = {
    "/": ("index.html", "text/html"),
    "/page/page.css": ("page.css", "text/css"),
    "/page/page.js": ("page.js", "text/javascript"),
    "/page/icon.svg": ("icon.svg", "image/svg+xml"),
}
SNAPSHOT_SECONDS = 3.0
"""Longest wait for the worker's figures; then viewers are told that it is busy."""
LOOKUP_SECONDS = 5.0
LOOKUPS_PER_SECOND = 5.0
LOOKUPS_AT_ONCE = 10


class Page:
    """What is served at `/`, beside metrics and probes.

    The state belongs to the worker's thread: everything that is shown is read by it between two batches, in
    `after_round`, when somebody asks.

    Args:
        settings: of the worker.
        health: what the worker is at.
        clocks: time.
    """

    def __init__(self, settings: Settings, health: Health, clocks: Clocks | None = None) -> None:
        self._settings, self._health = settings, health
        self._clocks = clocks or Clocks(time.monotonic)
        shown = settings.metrics.page
        self._has_users = shown == "full" or (shown == "auto" and is_loopback(settings.metrics.host))
        self._board = Board(settings, self._clocks.monotonic())
        self._questions: Questions[Pipeline] = Questions()
        self._titles = Titles(settings)
        self._feed = LiveFeed(self._tick)
        self._asked: asyncio.Future[Snapshot] | None = None
        self._lookups = RateLimit(LOOKUPS_PER_SECOND, LOOKUPS_AT_ONCE, self._clocks.monotonic)

    def routes(self) -> list[Route]:
        """Return the routes of the page and of its data; all answer GET alone."""
        assets = [Route(path, self._guarded(_asset(*asset))) for path, asset in ASSETS.items()]
        return [
            *assets,
            Route("/page/events", self._guarded(self._events)),
            Route("/page/user", self._guarded(self._user)),
        ]

    def after_round(self, pipeline: Pipeline, report: BatchReport | None, lag: Mapping[int, int]) -> None:
        """Take in what the worker's loop did, and answer those who ask; only from its thread."""
        now = self._clocks.monotonic()
        if report is not None:
            self._board.committed(report, now)
        self._board.went_round(pipeline.state.quality, lag, now, self._clocks.wall_ms())
        self._questions.answer(pipeline)

    def close(self) -> None:
        """End the streams; nobody is answered any more."""
        self._questions.close()
        self._feed.close()
        self._titles.close()

    def _guarded(self, endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            metrics = self._settings.metrics
            if may_be_asked_as(request.headers.get("host", ""), metrics.host, metrics.allowed_hosts):
                response = await endpoint(request)
            else:
                response = _refused(
                    421, "this port answers to other names: open it as http://localhost, or set metrics.allowed_hosts"
                )
            response.headers.update(HEADERS)
            return response

        return answer

    async def _events(self, request: Request) -> Response:
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        return self._feed.response() or _refused(503, f"{MOST_VIEWERS} pages are open already: close one", 10)

    async def _user(self, request: Request) -> Response:
        user, longest = request.query_params.get("id", ""), self._settings.events.max_id_bytes
        if not self._has_users:
            return _refused(403, "users are not shown on a port that others can reach: set metrics.page=full to do so")
        if not 0 < len(user.encode("utf-8", "replace")) <= longest:
            return _refused(400, f"id: expected a user id of 1 to {longest} bytes")
        if self._lookups.wait_seconds("everybody") > 0:
            return _refused(429, f"more than {LOOKUPS_PER_SECOND:g} lookups a second: try again in a moment", 1)
        try:
            found = await self._ask(lambda p: answer_about(p, user, self._settings.model.k), LOOKUP_SECONDS)
        except NoAnswer as error:
            return _refused(503, str(error), 2)
        answer = msgspec.structs.replace(found, titles=self._titles.of(_items_of(found)))
        return Response(msgspec.json.encode(answer), media_type="application/json")

    async def _tick(self) -> Tick:
        # A question outlives its wait: the end of a batch that takes longer answers it, for the next tick.
        if self._asked is None or self._asked.done():
            self._asked = asyncio.ensure_future(self._ask(self._snapshot, None))
        try:
            snapshot = await asyncio.wait_for(asyncio.shield(self._asked), SNAPSHOT_SECONDS)
        except (NoAnswer, TimeoutError):
            snapshot = None
        verdict = self._health.ready()
        titles = self._titles.of(line.item for line in snapshot.rising) if snapshot else {}
        return Tick(verdict.ok, verdict.reason, self._has_users, snapshot, titles)

    def _snapshot(self, pipeline: Pipeline) -> Snapshot:
        snapshot = self._board.read(pipeline, self._clocks.monotonic(), self._clocks.wall_ms())
        return snapshot if self._has_users else msgspec.structs.replace(snapshot, newest_users=())

    async def _ask(self, question: Callable[[Pipeline], Answer], deadline_seconds: float | None) -> Answer:
        """Return the worker's answer, however long that takes where there is no deadline.

        Raises:
            NoAnswer: there is none in time, or there will be none.
        """
        future = asyncio.wrap_future(self._questions.ask(question))
        try:
            return await asyncio.wait_for(future, deadline_seconds)
        except TimeoutError:
            raise NoAnswer(
                f"the worker is busy ({self._health.ready().reason}) and did not answer in {deadline_seconds:g} s: "
                "try again"
            ) from None


def _asset(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    content = (files("stream.http.page") / "assets" / name).read_bytes()

    async def serve(_: Request) -> Response:
        return Response(content, media_type=media_type)

    return serve


def _refused(status: int, error: str, retry_seconds: int | None = None) -> Response:
    headers = {} if retry_seconds is None else {"retry-after": str(retry_seconds)}
    return JSONResponse({"error": error}, status, headers)


def _items_of(answer: UserAnswer) -> Iterable[str]:
    yield from (event.item for event in answer.history)
    for place in answer.places:
        yield place.item
        if place.reason is not None:
            yield place.reason
