"""Reading: one user's list, at once or as it changes."""

import re
from urllib.parse import unquote

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from stream.config.settings import Settings
from stream.http.api.list_stream import HEADERS as STREAM_HEADERS
from stream.http.api.list_stream import ListStream, StreamClients
from stream.http.api.materialized_lists import ListView
from stream.http.api.problem_details import Problem
from stream.http.api.topic_follower import Follower
from stream.wire.schema import Recommendation

__all__ = ["MAX_K", "Lists"]

MAX_K = 1_000
_K = re.compile(r"[0-9]{1,4}")
_LAST_ID = re.compile(r"[0-9a-f-]{1,64}")
_decoder = msgspec.json.Decoder(Recommendation)


class Lists:
    """Answers questions for lists from the view.

    Args:
        settings: all settings.
        view: where the lists are.
        follower: knows whether the view is whole.
        clients: those who follow.
    """

    def __init__(self, settings: Settings, view: ListView, follower: Follower, clients: StreamClients) -> None:
        self._settings = settings
        self._view = view
        self._follower = follower
        self._clients = clients

    async def newest(self, request: Request) -> Response:
        """Return the newest list of a user."""
        user, k = self._user(request), _k(request)
        self._expect_view()
        value = self._view.get(user)
        if value is None:
            raise Problem("no-list", "nothing is known of this user yet, or the user was erased: show what is popular")
        etag = f'"{_version(value)}"'
        headers = {"etag": etag, "cache-control": "private, no-cache"}
        if _matches(request.headers.get("if-none-match"), etag):
            return Response(status_code=304, headers=headers)
        return Response(_first(value, k), headers=headers, media_type="application/json")

    async def follow(self, request: Request) -> ASGIApp:
        """Return a stream of a user's lists."""
        user, k = self._user(request), _k(request)
        self._expect_view()
        if request.method == "HEAD":
            return Response(headers={name.decode(): value.decode() for name, value in STREAM_HEADERS})
        last_id = request.headers.get("last-event-id", "")
        return ListStream(
            self._view,
            self._clients,
            user,
            shape=lambda value: _first(value, k),
            version=_version,
            last_id=last_id if _LAST_ID.fullmatch(last_id) else None,
            heartbeat_seconds=self._settings.serve.heartbeat_seconds,
        )

    def _user(self, request: Request) -> str:
        limit = self._settings.events.max_id_bytes
        encoded = request.path_params["id"]
        try:
            user = unquote(encoded, errors="strict")
        except UnicodeDecodeError:
            raise Problem("bad-id", "id: expected percent-encoded UTF-8") from None
        if len(user.encode()) > limit:
            raise Problem("bad-id", f"id: expected at most {limit} bytes (events.max_id_bytes)")
        return user

    def _expect_view(self) -> None:
        if not self._follower.has_view:
            raise Problem("not-ready", self._follower.ready().reason, {"retry-after": "1"})


def _k(request: Request) -> int | None:
    text = request.query_params.get("k")
    if text is None:
        return None
    if not _K.fullmatch(text) or not 1 <= int(text) <= MAX_K:
        raise Problem("bad-parameter", f"k: expected a whole number in 1..{MAX_K}", parameter="k")
    return int(text)


def _version(value: bytes) -> str:
    """Return what names a value among all lists of its user: the epoch, and the time in case that epochs begin anew."""
    found = _decoder.decode(value)
    return f"{found.epoch}-{found.generated_at:x}"


def _first(value: bytes, k: int | None) -> bytes:
    """Return the list with its first k items; without k the bytes that were published."""
    if k is None:
        return value
    fields = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    items = msgspec.json.decode(fields["items"], type=list[msgspec.Raw])
    return msgspec.json.encode(fields | {"items": items[:k]})


def _matches(if_none_match: str | None, etag: str) -> bool:
    given = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return "*" in given or etag in given
