"""What a look at the system found, each with what to do: the form that `status` and `doctor` share."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import msgspec
import typer

from stream.errors import Unhealthy
from stream.wire.escaping import printable

__all__ = ["Finding", "Level", "as_json", "conclude", "error", "lines_of", "ok", "warning"]


class Level(StrEnum):
    """How bad it is: `warning` works today and will hurt one day, `error` does not work."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact, whether it is well, and if not, what to do."""

    level: Level
    about: str
    """A word or two: which part."""
    message: str
    fix: str = ""


def ok(about: str, message: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(Level.OK, about, message)


def warning(about: str, message: str, fix: str) -> Finding:
    """Return a finding that works today and will hurt one day."""
    return Finding(Level.WARNING, about, message, fix)


def error(about: str, message: str, fix: str) -> Finding:
    """Return a finding that does not work."""
    return Finding(Level.ERROR, about, message, fix)


def lines_of(findings: Iterable[Finding]) -> list[str]:
    """Return the findings for people: one line each, and one with what to do where something is."""
    found = list(findings)
    width = max((len(finding.about) for finding in found), default=0)
    lines = []
    for finding in found:
        lines.append(f"{finding.level:8} {finding.about:{width}}  {finding.message}")
        if finding.fix:
            lines.append(f"{'':8} {'':{width}}  -> {finding.fix}")
    return [printable(line) for line in lines]


def as_json(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Return the findings as they stand in a JSON report."""
    builtins: list[dict[str, str]] = msgspec.to_builtins(list(findings))
    return builtins


def conclude(findings: Iterable[Finding], *, is_quiet: bool) -> None:
    """End the command: well when there is no error.

    Args:
        findings: all of them.
        is_quiet: print no last line (a JSON report is all that is wanted).

    Raises:
        Unhealthy: there is an error; exit code 11.
    """
    levels = [finding.level for finding in findings]
    errors, warnings = levels.count(Level.ERROR), levels.count(Level.WARNING)
    if errors:
        raise Unhealthy(f"{errors} error{'s' * (errors > 1)}, {warnings} warning{'s' * (warnings != 1)}: see above")
    if not is_quiet:
        typer.echo(f"healthy, {warnings} warning{'s' * (warnings != 1)}")
