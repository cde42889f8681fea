"""The HTTP interface as an OpenAPI 3.1 document: written from the structs of the wire and the limits of this server."""

from typing import Any

import msgspec

from stream.config.settings import Settings
from stream.http.api.event_envelopes import MEDIA_TYPES
from stream.http.api.list_routes import MAX_K
from stream.http.api.problem_details import CONTENT_TYPE, PROBLEMS, problem_type
from stream.versions import VERSIONS
from stream.wire.event_time import FIRST_TIME_MS, LAST_TIME_MS
from stream.wire.schema import Event, Recommendation

__all__ = ["openapi_document", "openapi_json"]

_REF = "#/components/schemas/"
_TEXT = {"type": "string"}
_K = {
    "name": "k",
    "in": "query",
    "description": "At most so many items; without it all that were published.",
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_K},
}
_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The ETag of the list that you have: 304 without a body when it is still the newest.",
    "schema": _TEXT,
}
_LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The id of the event that you have; browsers send it by themselves when they connect again.",
    "schema": _TEXT,
}


def openapi_json(settings: Settings, *, has_tokens: bool) -> bytes:
    """Return the document as JSON."""
    return msgspec.json.encode(openapi_document(settings, has_tokens=has_tokens))


def openapi_document(settings: Settings, *, has_tokens: bool) -> dict[str, Any]:
    """Return the document.

    Args:
        settings: limits that clients meet.
        has_tokens: whether a bearer token is asked for.
    """
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Millstream",
            "version": VERSIONS["millstream"],
            "summary": "A recommender that never stops learning: events in, lists out.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/v1/events": {"post": _post_events(settings)},
            "/v1/users/{id}/recommendations": {"parameters": [_id(settings)], "get": _get_list()},
            "/v1/users/{id}/recommendations/stream": {"parameters": [_id(settings)], "get": _get_stream()},
            "/livez": {"get": _get_text("Does the process live?", "not-ready")},
            "/readyz": {"get": _get_text("Are the lists whole and fresh?", "not-ready")},
            "/metrics": {"get": _get_text("Metrics for Prometheus")},
        },
        "components": {"schemas": _schemas(settings)},
    }
    if has_tokens:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, item in document["paths"].items():
            for operation in (item[method] for method in ("get", "post") if method in item):
                operation["security"] = [{"token": []}] if path.startswith("/v1/") else []
    return document


def _post_events(settings: Settings) -> dict[str, Any]:
    event = {"$ref": _REF + "Event"}
    batch = {"type": "array", "items": event, "minItems": 1, "maxItems": settings.serve.max_batch_events}
    return {
        "operationId": "postEvents",
        "summary": "Post one event, or several",
        "description": "202 when the brokers have acknowledged every event. If one is not valid none is written. After "
        "503, a timeout or a broken connection the events may be written, unless the type of the problem is "
        f"{problem_type('not-written')}: send them again. With an id in each event a repetition is not learned twice. "
        "CloudEvents 1.0 are taken in binary mode (headers ce-…), structured and batched; bodies may be gzip.",
        "requestBody": {"required": True, "content": _bodies({"anyOf": [event, batch]})},
        "responses": {
            "202": _json("Written; where each event is, in the order of the request.", "Accepted"),
            **_problems(
                "not-json", "slow-body", "body-too-large", "bad-media-type", "bad-event", "bad-batch", "not-written",
                "perhaps-written",
            ),
            **_problems_of_v1(),
        },
    }  # fmt: skip


def _bodies(plain: dict[str, Any]) -> dict[str, Any]:
    one = {"$ref": _REF + "CloudEvent"}
    schemas = (plain, {"anyOf": [one]}, {"anyOf": [{"type": "array", "items": one, "minItems": 1}]})
    return {media_type: {"schema": schema} for media_type, schema in zip(MEDIA_TYPES, schemas, strict=True)}


def _get_list() -> dict[str, Any]:
    headers = {"ETag": {"description": "Names this list.", "schema": _TEXT}}
    return {
        "operationId": "getRecommendations",
        "summary": "The newest list of a user",
        "parameters": [_K, _IF_NONE_MATCH],
        "responses": {
            "200": _json("The list, as it was published.", "Recommendation") | {"headers": headers},
            "304": {"description": "You have the newest list."},
            **_problems("bad-id", "bad-parameter", "no-list", "no-such-path", "not-ready"),
            **_problems_of_v1(),
        },
    }


def _get_stream() -> dict[str, Any]:
    return {
        "operationId": "followRecommendations",
        "summary": "The list of a user now, and each new one",
        "description": "Server-Sent Events. `list` has a list as data; `erased` says to forget what you have. "
        "When you read slowly, lists that were replaced meanwhile are left out.",
        "parameters": [_K, _LAST_EVENT_ID],
        "responses": {
            "200": {"description": "An endless stream.", "content": {"text/event-stream": {"schema": _TEXT}}},
            **_problems("bad-id", "bad-parameter", "no-such-path", "not-ready", "too-many-streams", "stopping"),
            **_problems_of_v1(),
        },
    }


def _get_text(summary: str, *kinds: str) -> dict[str, Any]:
    ok = {"description": "Yes." if kinds else "Text.", "content": {"text/plain": {"schema": _TEXT}}}
    return {"summary": summary, "responses": {"200": ok, **_problems(*kinds)}}


def _id(settings: Settings) -> dict[str, Any]:
    return {
        "name": "id",
        "in": "path",
        "required": True,
        "description": f"User id, percent-encoded; at most {settings.events.max_id_bytes} bytes.",
        "schema": {"type": "string", "minLength": 1, "maxLength": settings.events.max_id_bytes},
    }


def _schemas(settings: Settings) -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components([Event, Recommendation], ref_template=_REF + "{name}")
    event = schemas["Event"]["properties"]
    longest = {"maxLength": settings.events.max_id_bytes}
    for name in ("user", "item"):
        event[name] |= longest
    for name in ("id", "session"):
        for choice in event[name]["anyOf"]:
            if choice["type"] == "string":
                choice |= longest
    for choice in event["ts"]["anyOf"]:
        if choice["type"] == "integer":
            choice |= {"minimum": FIRST_TIME_MS, "maximum": LAST_TIME_MS}
    place = {
        "type": "object",
        "properties": {"partition": {"type": "integer"}, "offset": {"type": "integer"}},
        "required": ["partition", "offset"],
    }
    accepted = {
        "type": "object",
        "properties": {"accepted": {"type": "integer"}, "records": {"type": "array", "items": place}},
        "required": ["accepted", "records"],
    }
    return {**schemas, "CloudEvent": _cloud_event_schema(), "Accepted": accepted, "Problem": _problem_schema()}


def _cloud_event_schema() -> dict[str, Any]:
    attributes = dict.fromkeys(("specversion", "id", "source", "type", "time"), _TEXT)
    return {
        "type": "object",
        "description": "CloudEvents 1.0 in structured mode; source and id name the event, time dates it.",
        "properties": {**attributes, "data": {"$ref": _REF + "Event"}},
        "required": ["specversion", "id", "source", "type", "data"],
    }


def _problem_schema() -> dict[str, Any]:
    error = {
        "type": "object",
        "properties": {
            "index": {"type": "integer", "description": "Place of the event in the request, from 0."},
            "code": {"type": "string", "description": "As in the dead letters: docs/producing.md."},
            "detail": {"type": "string", "description": "The field, and what was expected of it."},
        },
        "required": ["index", "code", "detail"],
    }
    return {
        "type": "object",
        "description": "RFC 9457.",
        "properties": {
            "type": {"type": "string", "enum": [problem_type(kind) for kind in PROBLEMS]},
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _TEXT,
            "parameter": _TEXT,
            "num_invalid": {"type": "integer"},
            "errors": {"type": "array", "items": error},
        },
        "required": ["type", "title", "status", "detail"],
    }


def _json(description: str, schema: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": {"$ref": _REF + schema}}}}


def _problems_of_v1() -> dict[str, Any]:
    answers = _problems("unauthorized", "wrong-host", "too-many-requests")
    retry = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
    challenge = {"WWW-Authenticate": {"description": "Bearer.", "schema": _TEXT}}
    return answers | {"401": answers["401"] | {"headers": challenge}, "429": answers["429"] | {"headers": retry}}


def _problems(*kinds: str) -> dict[str, Any]:
    """Return one response per status; kinds that share one are named together."""
    titles: dict[int, list[str]] = {}
    for kind in kinds:
        status, title = PROBLEMS[kind]
        titles.setdefault(status, []).append(f"{title} (`{problem_type(kind)}`).")
    content = {CONTENT_TYPE: {"schema": {"$ref": _REF + "Problem"}}}
    return {str(status): {"description": " ".join(texts), "content": content} for status, texts in titles.items()}
