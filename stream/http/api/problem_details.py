"""What goes wrong, as RFC 9457 has it: `application/problem+json` with a type that programs can rely on."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

__all__ = ["CONTENT_TYPE", "PROBLEMS", "Problem", "answer", "problem_type"]

CONTENT_TYPE = "application/problem+json"

PROBLEMS: dict[str, tuple[int, str]] = {
    "bad-id": (400, "The id in the path is no id"),
    "bad-parameter": (400, "A parameter of the request is out of range"),
    "not-json": (400, "The body is not JSON"),
    "unauthorized": (401, "A bearer token is needed"),
    "no-list": (404, "This user has no list"),
    "no-such-path": (404, "There is nothing at this path"),
    "bad-method": (405, "The path does not take this method"),
    "slow-body": (408, "The body came too slowly"),
    "body-too-large": (413, "The body is too large"),
    "bad-media-type": (415, "The body must be JSON or CloudEvents, plain or gzip"),
    "wrong-host": (421, "This port does not answer to this name"),
    "bad-event": (422, "An event is not valid; nothing was written"),
    "bad-batch": (422, "The number of events is out of range; nothing was written"),
    "too-many-requests": (429, "Too many requests"),
    "internal": (500, "An error of the server; nothing is known of what was posted"),
    "not-ready": (503, "The lists are not read yet"),
    "not-written": (503, "The events were not written"),
    "perhaps-written": (503, "The events may or may not be written"),
    "too-many-streams": (503, "Too many clients follow users"),
    "stopping": (503, "The server stops"),
}
"""Kind to status and title; neither changes its meaning."""


class Problem(Exception):
    """A request that is answered with a problem.

    Args:
        kind: a key of `PROBLEMS`.
        detail: where, what was expected, what to do.
        headers: of the answer.
        members: further members of the body.
    """

    def __init__(self, kind: str, detail: str, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members


def problem_type(kind: str) -> str:
    """Return the URI of a kind of problem."""
    return f"urn:millstream:problem:{kind}"


def answer(problem: Problem) -> Response:
    """Return the response for a problem."""
    status, title = PROBLEMS[problem.kind]
    body = {
        "type": problem_type(problem.kind),
        "title": title,
        "status": status,
        "detail": problem.detail,
        **problem.members,
    }
    headers = {"cache-control": "no-store", **problem.headers}
    return Response(msgspec.json.encode(body), status, headers, media_type=CONTENT_TYPE)
