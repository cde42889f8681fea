"""`millstream status`: one screen for the person on call."""

import time
from typing import Annotated, Any

import msgspec
import typer
from rich.filesize import decimal

from millstream.diagnosis.findings import Level, as_json, conclude, lines_of
from millstream.diagnosis.status import Status, look
from millstream.diagnosis.worker_client import url_of
from millstream.terminal.duration import duration
from millstream.terminal.options import BootstrapOption, ConfigOption, SetOption, settings_from
from millstream.terminal.read_only import rows_of
from millstream.terminal.time_argument import since_ms
from stream.config.settings import Settings
from stream.errors import ConfigError
from stream.wire.escaping import printable

__all__ = ["status"]

MAX_PARTITIONS = 16
"""More are summed up: those with the longest lag are shown."""


# More than six parameters: typer reads the options of a command from its parameters.
def status(
    url: Annotated[
        str | None, typer.Option("--url", help="The worker's port. Default: http://metrics.host:metrics.port.")
    ] = None,
    since: Annotated[
        str, typer.Option("--since", metavar="WHEN", help="Count dead letters from then on: 15m, 2h, 7d, or a time.")
    ] = "1h",
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    bootstrap_servers: BootstrapOption = None,
) -> None:
    """Show how the worker is: alive, ready, lag, newest commit and checkpoint, freshness, quality, dead letters.

    It asks the brokers (group, journal, dead letters), the checkpoints and the worker's port, and says which of them
    did not answer. It only reads. Exit code 0: healthy (there may be warnings); 11: something does not work.
    """
    settings = settings_from(config, set_, bootstrap_servers)
    if url is not None and not url.startswith(("http://", "https://")):
        raise ConfigError(f"--url {url}: expected http://HOST:PORT")
    now_ms = time.time_ns() // 1_000_000
    found = look(settings, (url or url_of(settings.metrics)).rstrip("/"), since_ms(since, now_ms))
    if json:
        typer.echo(msgspec.json.encode(_as_dict(found)).decode())
    else:
        typer.echo(f"{settings.worker.transactional_id} on {settings.kafka.bootstrap_servers}")
        typer.echo("\n".join(rows_of(_rows(found, settings, since))))
        typer.echo("\n".join(lines_of(found.findings)))
    conclude(found.findings, is_quiet=json)


def _rows(found: Status, settings: Settings, since: str) -> dict[str, str]:
    unknown = "not known"
    rows = dict.fromkeys(("worker", "lag", "commit", "checkpoint", "freshness", "quality", "dead letters"), unknown)
    worker, entry, made = found.worker, found.entry, found.checkpoint
    if not worker.problem:
        alive = "alive" if worker.is_alive else f"not alive ({worker.live})"
        rows["worker"] = f"{alive}, {'ready' if worker.is_ready else f'not ready ({worker.ready})'}, {worker.url}"
    if found.partitions:
        rows["lag"] = _lag(found)
    if entry is not None and found.commit_age_seconds is not None:
        rows["commit"] = f"epoch {entry.epoch:,}, {duration(found.commit_age_seconds)} ago, by {printable(entry.app)}"
    if made is not None:
        age = duration((found.now_ms - made["created_at_ms"]) / 1000)
        rows["checkpoint"] = f"epoch {made['epoch']:,}, {age} ago, {decimal(made['bytes'])}"
    if found.freshness is not None:
        p50, p99, events = (found.freshness[name] for name in ("p50", "p99", "events"))
        rows["freshness"] = f"p50 {p50:.2f} s, p99 {p99:.2f} s, event to list, {events:,.0f} since the worker's start"
    if found.quality:
        rows["quality"] = "; ".join(
            f"{model} HR {values['hit_ratio']:.4f} NDCG {values['ndcg_ratio']:.4f}"
            for model, values in found.quality.items()
        )
        rows["quality"] += f" (@{settings.model.k}, the last {settings.quality.window_events:,})"
    if found.letters is not None:
        codes = ", ".join(f"{printable(code)} {count:,}" for code, count in found.letters.most_common())
        rows["dead letters"] = f"{found.letters.total():,} since {since}" + (f": {codes}" if codes else "")
    return rows


def _lag(found: Status) -> str:
    worst = sorted(found.partitions.items(), key=lambda item: -item[1].lag)[:MAX_PARTITIONS]
    shown = "  ".join(f"[{partition}] {standing.lag:,}" for partition, standing in sorted(worst))
    more = (
        f"  and {len(found.partitions) - len(worst)} partitions with less" if len(worst) < len(found.partitions) else ""
    )
    return f"{found.lag:,} records: {shown}{more}"


def _as_dict(found: Status) -> dict[str, Any]:
    worker, entry = found.worker, found.entry
    return {
        "healthy": all(finding.level != Level.ERROR for finding in found.findings),
        "time_ms": found.now_ms,
        "worker": {
            "url": worker.url,
            "problem": worker.problem or None,
            "alive": worker.is_alive,
            "ready": worker.is_ready,
            "live": worker.live,
            "readiness": worker.ready,
        },
        "lag": {
            "records": found.lag if found.partitions else None,
            "partitions": {
                str(number): {
                    "begin": standing.begin,
                    "end": standing.end,
                    "committed": standing.committed,
                    "lag": standing.lag,
                }
                for number, standing in found.partitions.items()
            },
        },
        "commit": None
        if entry is None
        else {
            "epoch": entry.epoch,
            "at_ms": entry.generated_at_ms,
            "age_seconds": found.commit_age_seconds,
            "by": entry.app,
        },
        "checkpoint": found.checkpoint,
        "freshness_seconds": found.freshness,
        "quality": found.quality or None,
        "dead_letters": None if found.letters is None else dict(found.letters.most_common()),
        "findings": as_json(found.findings),
    }
