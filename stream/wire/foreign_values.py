"""What a record's value is when it is no event: the usual mistakes told by their first bytes or their fields.

Nothing here decides whether a value is an event, and nothing that is said repeats what the value holds.
"""

import re
from typing import Any

import msgspec

__all__ = ["is_lost_cloud_event", "object_hint", "text_hint"]

_BEGINNINGS = (
    (b"\x1f\x8b", "it is compressed with gzip: send it as it was, and let the Kafka client compress"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd: send it as it was, and let the Kafka client compress"),
    (b"BZh", "it is compressed with bzip2: send it as it was, and let the Kafka client compress"),
    (b"\xef\xbb\xbf", "it begins with a byte-order mark of UTF-8: leave that out"),
    (b"\xff\xfe", "it begins with the byte-order mark of UTF-16: encode it as UTF-8"),
    (b"\xfe\xff", "it begins with the byte-order mark of UTF-16: encode it as UTF-8"),
    (b"{\x00", "it is UTF-16: encode it as UTF-8"),
    (b"\x00{", "it is UTF-16: encode it as UTF-8"),
    (b"Obj\x01", "it is Avro: write JSON"),
    (b"{'", "its quotes are single ones, as Python prints a dict: write JSON (json.dumps)"),
)
_REGISTRY_HEADER_BYTES = 5
_POSITION = re.compile(r"\(byte (\d+)\)")
_CONNECT = (
    "it is an envelope of Kafka Connect: set value.converter=org.apache.kafka.connect.json.JsonConverter and "
    "value.converter.schemas.enable=false"
)
_DEBEZIUM = (
    "it is a change event of Debezium: unwrap it with the transform io.debezium.transforms.ExtractNewRecordState"
)


def text_hint(value: bytes, error: Exception) -> str:
    """Return what bytes are that are not the JSON of one object, as the end of a sentence.

    Args:
        value: of the record, or a body.
        error: why it could not be decoded.
    """
    for beginning, said in _BEGINNINGS:
        if value.startswith(beginning):
            return said
    if value[:1] == b"\x00" and len(value) > _REGISTRY_HEADER_BYTES:
        return (
            "it begins with the header of a schema registry (Avro, Protobuf, JSON Schema): write plain JSON without it"
        )
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as no_text:
        return f"byte {no_text.start} is no UTF-8 (Latin-1?)"
    if not value.strip():
        return "it is empty"
    found = _POSITION.search(str(error))
    if found is None:
        return "it is no JSON"
    return f"it is no JSON from byte {found.group(1)} on" + (" (one event a record)" if _is_trailing(error) else "")


def object_hint(value: bytes) -> str:
    """Return what JSON is that is no event, as the end of a sentence; nothing where no usual mistake is seen."""
    fields = _decoded(value)
    if isinstance(fields, str):
        return "it is a text with JSON in it: it was encoded twice" if fields.lstrip().startswith("{") else ""
    if isinstance(fields, list):
        return "it is an array: one event a record"
    if not isinstance(fields, dict):
        return ""
    payload = fields.get("payload")
    if _is_change(fields) or (isinstance(payload, dict) and _is_change(payload)):
        return _DEBEZIUM
    return _CONNECT if "schema" in fields and "payload" in fields else ""


def is_lost_cloud_event(value: bytes) -> bool:
    """Return whether this is a CloudEvent in structured mode, which its header should have said."""
    fields = _decoded(value)
    return isinstance(fields, dict) and "specversion" in fields and ("data" in fields or "data_base64" in fields)


def _is_change(fields: dict[str, Any]) -> bool:
    return "op" in fields and ("after" in fields or "before" in fields)


def _is_trailing(error: Exception) -> bool:
    return "trailing characters" in str(error)


def _decoded(value: bytes) -> Any:
    try:
        return msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
