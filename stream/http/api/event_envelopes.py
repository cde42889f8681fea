"""How a posted body is wrapped: its media type, its compression, and the attributes of a CloudEvent in its headers.

CloudEvents over HTTP become CloudEvents over Kafka, which the worker reads: `ce-id: 7d1f` becomes the header `ce_id`.

Source: CloudEvents 1.0.2, HTTP Protocol Binding, sections 3.1 to 3.3; RFC 9110, 8.4.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from stream.http.api.problem_details import Problem
from stream.wire.dead_letters import DeadCode
from stream.wire.records import Headers

__all__ = ["MEDIA_TYPES", "PLAIN", "Envelope", "envelope_of", "inflated"]

PLAIN_JSON = "application/json"
STRUCTURED = "application/cloudevents+json"
STRUCTURED_BATCH = "application/cloudevents-batch+json"
MEDIA_TYPES = (PLAIN_JSON, STRUCTURED, STRUCTURED_BATCH)
# A page of another origin may send text/plain or a form without asking first, but none of these.
_ATTRIBUTE = re.compile(r"ce-([a-z0-9]{1,40})")
_GZIP_NAMES = ("gzip", "x-gzip")
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the headers of a request say of its body."""

    is_batch: bool | None = None
    """Whether the body must be an array; None: it may be one."""
    headers: Headers = field(default_factory=list)
    """Of the record of each event."""
    is_gzip: bool = False


PLAIN = Envelope()


def envelope_of(headers: Mapping[str, str]) -> Envelope:
    """Return what the headers of a request say, whose names are small.

    Raises:
        Problem: a media type or a compression that is not read.
    """
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in MEDIA_TYPES:
        got = f"{media_type!r:.60}" if media_type else "none"
        raise Problem("bad-media-type", f"expected the header Content-Type: {' or '.join(MEDIA_TYPES)}, got {got}")
    coding = headers.get("content-encoding", "identity").strip().lower() or "identity"
    if coding not in (*_GZIP_NAMES, "identity"):
        raise Problem("bad-media-type", f"expected the header Content-Encoding: gzip, or none, got {coding!r:.60}")
    is_gzip = coding in _GZIP_NAMES
    if media_type != PLAIN_JSON:
        return Envelope(media_type == STRUCTURED_BATCH, [("content-type", STRUCTURED.encode())], is_gzip)
    attributes: Headers = [
        (f"ce_{found[1]}", unquote_to_bytes(value.encode("latin-1")))
        for name, value in headers.items()
        if (found := _ATTRIBUTE.fullmatch(name))
    ]
    if attributes and "ce-specversion" not in headers:  # whoever sends ce-id counts on it
        detail = "ce-specversion: expected 1.0 with the other ce- headers, got none"
        error = {"index": 0, "code": DeadCode.BAD_CLOUD_EVENT.value, "detail": detail}
        raise Problem("bad-event", detail, errors=[error], num_invalid=1)
    return Envelope(False if attributes else None, attributes, is_gzip)


def inflated(body: bytes, max_bytes: int) -> bytes:
    """Return a body that came as gzip.

    Raises:
        Problem: it is none, it is cut off, or it is longer than `max_bytes`.
    """
    parts: list[bytes] = []
    room, rest = max_bytes + 1, body
    while rest:
        member = zlib.decompressobj(_GZIP_WINDOW)
        try:
            parts.append(member.decompress(rest, room))
        except zlib.error:
            raise Problem("not-json", "expected gzip, as Content-Encoding says") from None
        room -= len(parts[-1])
        if room <= 0:
            raise Problem("body-too-large", f"expected at most {max_bytes} bytes inflated (serve.max_body_bytes)")
        if not member.eof:
            raise Problem("not-json", "expected whole gzip, got one that is cut off")
        rest = member.unused_data
    return b"".join(parts)
