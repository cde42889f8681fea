"""Text from outside as one line that cannot be taken for anything else: no line breaks, no terminal commands."""

__all__ = ["printable", "printable_bytes"]


def printable(text: str) -> str:
    """Return the text with everything that does not show (control, format and line-break characters) written out.

    That keeps an id with a line break from forging a log line, one with an escape sequence from driving a terminal,
    and one with a right-to-left mark from turning round what stands beside it.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def printable_bytes(data: bytes, max_chars: int | None = None) -> str:
    """Return bytes as text, what is no UTF-8 as `\\\\xff`; what is longer than `max_chars` ends in `…`."""
    if max_chars is not None and len(data) > 4 * max_chars:
        return printable_bytes(data[: 4 * max_chars])[:max_chars] + "…"
    shown = printable(data.decode("utf-8", errors="backslashreplace"))
    return shown if max_chars is None or len(shown) <= max_chars else shown[:max_chars] + "…"


def _escaped(character: str) -> str:
    if "\ud800" <= character <= "\udfff":
        return f"\\u{ord(character):04x}"
    return character.encode("unicode_escape").decode("ascii")
