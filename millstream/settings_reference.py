"""docs/settings.md, written from the declarations in `stream/config/settings.py`."""

import json
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from stream.config.settings import Settings

__all__ = ["settings_page"]

_HEAD = """# Settings

Every setting, its default and range. `millstream config --markdown` writes this page; a test holds it to the code.

One TOML file (`--config`, or the variable `MILLSTREAM_CONFIG`) is overridden by the environment
(`MILLSTREAM_BATCHING_MAX_EVENTS=256`), that by flags (`--set batching.max_events=256`). `millstream config` shows the
values in force and where each came from. How they belong together is in [operating.md](operating.md) and
[security.md](security.md).
"""

_TABLE = "| setting | default | range | what it is |\n| --- | --- | --- | --- |\n"
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
_KINDS = {int: "whole number", float: "number", bool: "true or false", str: "text", Path: "path", SecretStr: "secret"}


def settings_page() -> str:
    """Return the page as Markdown."""
    parts = [_HEAD]
    for section, field in Settings.model_fields.items():
        model: Any = field.annotation
        parts.append(f"\n## {section}\n\n{model.__doc__.strip()}\n\n{_TABLE}")
        parts += [_row(f"{section}.{key}", inner) for key, inner in model.model_fields.items()]
    return "".join(parts)


def _row(name: str, field: FieldInfo) -> str:
    cells = (f"`{name}`", _default(field.default), _range(field), field.description or "")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _default(value: Any) -> str:
    if value is None:
        return "none"
    return f"`{json.dumps(value, ensure_ascii=False, default=str)}`"


def _range(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {value:g}" if isinstance(value, float) else f"{sign} {value}"
        for rule in field.metadata
        for name, sign in _BOUNDS.items()
        if (value := getattr(rule, name, None)) is not None
    ]
    return ", ".join(bounds) or _kind(field.annotation)


def _kind(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return ", ".join(map(str, get_args(annotation)))
    if origin is tuple:
        return f"list of {_kind(get_args(annotation)[0])}"
    if origin in (Union, UnionType):
        return _kind(next(part for part in get_args(annotation) if part is not type(None)))
    if hasattr(annotation, "__metadata__"):
        return _kind(get_args(annotation)[0])
    return _KINDS.get(annotation, "text")
