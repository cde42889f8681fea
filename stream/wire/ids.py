"""Which texts name a user, an item or an event, by one rule at every door."""

__all__ = ["id_problem"]

_MOST_BYTES_PER_CHARACTER = 4


def id_problem(text: str, max_bytes: int) -> str | None:
    """Return why a text that is not empty is no id, without the text itself; None: it is one.

    Args:
        text: of the field; blanks around an id belong to it, as whoever reads files takes them away.
        max_bytes: most bytes of UTF-8 (`events.max_id_bytes`).
    """
    if text.isspace():
        return "expected more than blanks"
    # Short ids need no encoding to be measured.
    if len(text) * _MOST_BYTES_PER_CHARACTER > max_bytes and (size := len(text.encode("utf-8"))) > max_bytes:
        return f"expected at most {max_bytes} bytes (events.max_id_bytes), got {size}"
    return None
