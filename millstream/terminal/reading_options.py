"""The options by which a command is told how a file of events is understood."""

from dataclasses import fields
from typing import Annotated, Any

import typer

from producers.files.presets import PRESETS
from producers.files.read_options import ReadOptions
from stream.errors import ConfigError

__all__ = [
    "ColumnsOption",
    "DelimiterOption",
    "EachOption",
    "FormatOption",
    "MapOption",
    "MapTypeOption",
    "PresetOption",
    "RelativeTimeOption",
    "SkipBadOption",
    "TsFormatOption",
    "TsUnitOption",
    "TypeOption",
    "read_options",
]

_PANEL = "How the file is read"
ESCAPES = {"\\t": "\t", "tab": "\t", "space": " "}


def _option(*names: str, **more: Any) -> Any:
    return typer.Option(*names, rich_help_panel=_PANEL, **more)


MapOption = Annotated[
    list[str] | None,
    _option(
        "--map",
        metavar="FIELD=COLUMN",
        help="Column of a field: user=customer_id, item=properties.product_id in nested JSON; id= for no column.",
    ),
]
MapTypeOption = Annotated[
    list[str] | None,
    _option(
        "--map-type",
        metavar="THEIRS=OURS",
        help="What a type of the file means: addtocart=cart; nothing after = leaves its rows out; * is all others.",
    ),
]
TypeOption = Annotated[
    str | None, _option("--type", help="Type of rows that name none, e.g. purchase for a file of orders.")
]
PresetOption = Annotated[
    str | None, _option("--preset", help=f"A public file in its published form: {', '.join(PRESETS)}.")
]
FormatOption = Annotated[
    str | None, _option("--format", help="jsonl, csv, tsv or parquet. Default: the file's ending; jsonl for -.")
]
ColumnsOption = Annotated[
    str | None,
    _option("--columns", metavar="NAME,NAME,…", help="Names for a CSV or TSV file without a header, in order."),
]
DelimiterOption = Annotated[
    str | None, _option("--delimiter", help="What separates the columns: ';', '::', tab. Default: read off the file.")
]
EachOption = Annotated[
    str | None, _option("--each", metavar="LIST", help="A list in every row of JSON, each of whose objects is a row.")
]
TsUnitOption = Annotated[str | None, _option("--ts-unit", help="Unit of times given as numbers: s, ms, us or ns.")]
TsFormatOption = Annotated[
    str | None, _option("--ts-format", metavar="FORM", help="How times are written: '%d-%m-%Y %H:%M'.")
]
RelativeTimeOption = Annotated[
    bool, _option("--relative-time", help="Times count from a start of their own, which becomes the year 2000.")
]
SkipBadOption = Annotated[bool, _option("--skip-bad", help="Count rows that are no events, and go on.")]


def read_options(
    preset: str | None, map_: list[str] | None, map_type: list[str] | None, columns: str | None, **given: Any
) -> ReadOptions:
    """Return how a file is understood: by a preset, and by what was said besides, which wins.

    Args:
        preset: a key of `PRESETS`, None for none.
        map_: texts `FIELD=COLUMN`.
        map_type: texts `THEIRS=OURS`.
        columns: names with commas in between.
        given: fields of `ReadOptions`; None and False: not said.

    Raises:
        ConfigError: a text is not of its form, or means nothing.
    """
    if preset is not None and preset not in PRESETS:
        raise ConfigError(f"--preset: expected one of {', '.join(PRESETS)}, got {preset}")
    fields_: dict[str, Any] = dict(PRESETS[preset]) if preset is not None else {}
    known = {field.name for field in fields(ReadOptions)}
    assert given.keys() <= known, f"no fields of ReadOptions: {given.keys() - known}"
    fields_ |= {name: value for name, value in given.items() if value not in (None, False)}
    if fields_.get("delimiter") in ESCAPES:
        fields_["delimiter"] = ESCAPES[fields_["delimiter"]]
    if columns is not None:
        fields_["names"] = tuple(name.strip() for name in columns.split(","))
    mapped = _pairs("--map", "FIELD=COLUMN, such as user=customer_id", map_)
    fields_["columns"] = {**fields_.get("columns", {}), **mapped}
    fields_["optional"] = {k: v for k, v in fields_.get("optional", {}).items() if k not in mapped}
    said = _pairs("--map-type", "THEIRS=OURS, such as addtocart=cart", map_type)
    fields_["types"] = {**fields_.get("types", {}), **said}
    return ReadOptions(**fields_)


def _pairs(flag: str, expected: str, texts: list[str] | None) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ConfigError(f"{flag}: expected {expected}, got {text}")
        if pairs.get(name, value) != value:
            raise ConfigError(f"{flag}: expected {name} once, got {name}={pairs[name]} and {text}")
        pairs[name] = value
    return pairs
