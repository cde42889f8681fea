"""`millstream config`: the effective settings and where each came from."""

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from millstream.settings_reference import settings_page
from millstream.terminal.options import BootstrapOption, ConfigOption, SetOption, loaded_from
from stream.config.loading import HIDDEN, SettingLine

__all__ = ["config"]

COLUMNS = ("setting", "value", "origin", "what it is")


def config(
    config_file: ConfigOption = None,
    set_: SetOption = None,
    bootstrap_servers: BootstrapOption = None,
    toml: Annotated[bool, typer.Option("--toml", help="Print a settings file instead of a table.")] = False,
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not a default.")] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print docs/settings.md: all settings, their defaults and ranges.")
    ] = False,
) -> None:
    """Print the effective settings with the origin of each; secrets are hidden.

    A TOML file is overridden by the environment (MILLSTREAM_BATCHING_MAX_EVENTS=256), that by flags.
    """
    if markdown:
        typer.echo(settings_page(), nl=False)
        return
    lines = loaded_from(config_file, set_, bootstrap_servers).lines()
    if changed:
        lines = [line for line in lines if line.origin != "default"]
    if toml:
        typer.echo(_as_toml(lines), nl=False)
    elif sys.stdout.isatty():
        _print_table(lines)
    else:
        _print_lines(lines)


def _print_table(lines: list[SettingLine]) -> None:
    table = Table(*COLUMNS, box=None, pad_edge=False)
    for line in lines:
        style = "" if line.origin == "default" else "bold"
        table.add_row(*(Text(cell, style=style) for cell in _cells(line)))
    Console().print(table)


def _print_lines(lines: list[SettingLine]) -> None:
    """Print one line per setting, whole however long it is, for `grep` and files."""
    rows = [COLUMNS, *map(_cells, lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS) - 1)]
    for row in rows:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        typer.echo(" ".join([*padded, row[-1]]))


def _cells(line: SettingLine) -> tuple[str, ...]:
    shown = "" if line.value is None else _toml_value(line.value)
    return line.name, shown, line.origin, line.description


def _as_toml(lines: list[SettingLine]) -> str:
    out: list[str] = []
    open_section = ""
    for line in lines:
        section, key = line.name.split(".")
        if section != open_section:
            out.append(f"\n[{section}]" if out else f"[{section}]")
            open_section = section
        out.append(f"# {line.description} ({line.origin})")
        hidden = line.value is None or HIDDEN in str(line.value)
        out.append(f"# {key} =" if hidden else f"{key} = {_toml_value(line.value)}")
    return "\n".join(out) + "\n"


def _toml_value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)  # JSON's texts, numbers, booleans and lists are TOML's too
