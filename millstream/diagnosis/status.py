"""How a worker is: asked of the brokers, of the checkpoints, and of its port, each for what it knows.

What cannot be asked is left out and said; nothing here stops at the first thing that fails.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from millstream.dead_letter_redrive import Choice, Letters
from millstream.diagnosis.findings import Finding, error, warning
from millstream.diagnosis.histogram_quantile import quantile
from millstream.diagnosis.offset_agreement import agreement, held_back_findings, newest_entry_and_standings
from millstream.diagnosis.senders import sender_findings
from millstream.diagnosis.worker_client import WorkerPort, ask_worker
from millstream.terminal.duration import duration
from millstream.terminal.read_only import open_store
from stream.config.settings import Settings
from stream.errors import MillstreamError
from stream.log.kafka.group_lag import PartitionStanding
from stream.telemetry.metrics import MODELS
from stream.wire.escaping import printable
from stream.wire.schema import JournalEntry

__all__ = ["Status", "look"]

MAX_LETTERS = 100_000
"""More are not counted: the answer would take minutes, and is clear by then."""
FEW_EVALUATED = 5_000
"""Below this, the window of quality by default, a model has not warmed up."""
MAX_CHECKPOINT_INTERVALS = 3


@dataclass(slots=True)
class Status:
    """What could be found out; None or empty: it could not, and a finding says why."""

    now_ms: int
    worker: WorkerPort
    partitions: dict[int, PartitionStanding] = field(default_factory=dict)
    entry: JournalEntry | None = None
    checkpoint: dict[str, int] | None = None
    freshness: dict[str, float] | None = None
    quality: dict[str, dict[str, float]] = field(default_factory=dict)
    letters: Counter[str] | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def lag(self) -> int:
        """Records that wait, in all partitions."""
        return sum(standing.lag for standing in self.partitions.values())

    @property
    def commit_age_seconds(self) -> float | None:
        """Age of the newest commit; None: there is none, or it could not be read."""
        return None if self.entry is None else (self.now_ms - self.entry.generated_at_ms) / 1000


def look(settings: Settings, url: str, letters_since_ms: int) -> Status:
    """Ask everybody.

    Args:
        settings: of the worker.
        url: of its port.
        letters_since_ms: dead letters are counted from this moment on.
    """
    status = Status(now_ms=time.time_ns() // 1_000_000, worker=ask_worker(url))
    is_reachable = _part(status, "brokers", lambda: _look_at_log(status, settings))
    if is_reachable:
        _part(status, "letters", lambda: _look_at_letters(status, settings, letters_since_ms))
    _part(status, "checkpoint", lambda: _look_at_checkpoint(status, settings))
    _look_at_metrics(status)
    _judge_worker(status, settings)
    _judge_progress(status, settings)
    return status


def _part(status: Status, about: str, ask: Callable[[], None]) -> bool:
    try:
        ask()
    except MillstreamError as failed:
        status.findings.append(error(about, str(failed), "run 'millstream doctor' for what is wrong there"))
        return False
    return True


def _look_at_log(status: Status, settings: Settings) -> None:
    status.entry, status.partitions = newest_entry_and_standings(settings)
    status.findings += [found for found in agreement(status.entry, status.partitions, settings) if found.fix]
    status.findings += held_back_findings(settings)


def _look_at_letters(status: Status, settings: Settings, since_ms: int) -> None:
    letters = Letters(settings, Choice(since_ms=since_ms))
    status.letters = Counter(letter.code for letter in islice(letters, MAX_LETTERS))
    if total := status.letters.total():
        span = duration((status.now_ms - since_ms) / 1000)
        at_least = "at least " if total >= MAX_LETTERS else ""
        message = f"{at_least}{total:,} events of the last {span} could not be read"
        status.findings.append(warning("letters", message, "see them with 'millstream dlq list'"))


def _look_at_checkpoint(status: Status, settings: Settings) -> None:
    """Believe the metrics of a worker that has written one: opening the checkpoints loads torch, which takes long."""
    config, metrics = settings.checkpoints, status.worker.metrics
    if not config.url:
        fix = "set checkpoints.url, unless re-learning the whole log at each start is meant"
        status.findings.append(warning("checkpoint", "checkpoints are switched off", fix))
    elif metrics is not None and metrics.value("millstream_checkpoint_bytes"):
        status.checkpoint = {
            "epoch": int(metrics.value("millstream_checkpoint_epoch")),
            "created_at_ms": int(metrics.value("millstream_checkpoint_last_success_timestamp_seconds") * 1000),
            "bytes": int(metrics.value("millstream_checkpoint_bytes")),
        }
    else:
        try:
            status.checkpoint = _newest_checkpoint(settings)
        except MillstreamError as failed:
            fix = "run this where the worker runs, or give it the worker's checkpoints.url"
            status.findings.append(warning("checkpoint", str(failed), fix))


def _newest_checkpoint(settings: Settings) -> dict[str, int] | None:
    store = open_store(settings)
    names = [] if store is None else store.names()
    if store is None or not names:
        return None
    manifest = store.manifest(names[0])
    return {
        "epoch": manifest.moment.epoch,
        "created_at_ms": manifest.created_at_ms,
        "bytes": sum(facts.num_bytes for facts in manifest.files.values()),
    }


def _look_at_metrics(status: Status) -> None:
    metrics = status.worker.metrics
    if metrics is None:
        return
    status.findings += sender_findings(metrics)
    name = "millstream_event_to_publish_seconds"
    edges = {labels["le"] for labels in metrics.labels(f"{name}_bucket")}
    buckets = {float(edge): metrics.value(f"{name}_bucket", le=edge) for edge in edges}
    half, most = quantile(0.5, buckets), quantile(0.99, buckets)
    if half is not None and most is not None:
        status.freshness = {"p50": half, "p99": most, "events": metrics.value(f"{name}_count")}
    num_evaluated = metrics.value("millstream_evaluated_events_total", model="model")
    if not num_evaluated:
        return
    status.quality = {
        model: {
            value: metrics.value(f"millstream_{value}", model=model, window="sliding")
            for value in ("hit_ratio", "ndcg_ratio", "coverage_ratio")
        }
        for model in MODELS
    }
    best = max(MODELS[1:], key=lambda model: status.quality[model]["ndcg_ratio"])
    ours, theirs = status.quality["model"]["ndcg_ratio"], status.quality[best]["ndcg_ratio"]
    if num_evaluated >= FEW_EVALUATED and ours < theirs:
        message = f"the model's NDCG {ours:.4f} is below that of the baseline {best}, {theirs:.4f}"
        status.findings.append(warning("quality", message, "look at its history in the dashboard; see docs/model.md"))


def _judge_worker(status: Status, settings: Settings) -> None:
    worker, age = status.worker, status.commit_age_seconds
    if worker.problem:
        message = f"{worker.url} could not be asked: {printable(worker.problem)}"
        if age is not None and age < settings.worker.stall_deadline_seconds:
            message += f"; but a batch was committed {duration(age)} ago, so a worker runs somewhere"
            status.findings.append(warning("worker", message, "name its port with --url http://HOST:PORT"))
        else:
            fix = "start it with 'millstream run'; if it runs elsewhere, name its port with --url http://HOST:PORT"
            status.findings.append(error("worker", message, fix))
    elif not worker.is_alive:
        fix = "look at its log; it ends by itself, and its supervisor should start it again"
        status.findings.append(error("worker", f"not alive: {worker.live}", fix))
    elif not worker.is_ready:
        fix = "wait while it starts or recovers; otherwise look at its log and at the brokers"
        status.findings.append(error("worker", f"not ready: {worker.ready}", fix))


def _judge_progress(status: Status, settings: Settings) -> None:
    age, waiting = status.commit_age_seconds, status.lag
    if waiting and (age is None or age > settings.worker.stall_deadline_seconds):
        since = "no batch was ever committed" if age is None else f"nothing was committed for {duration(age)}"
        message = f"{since}, while {waiting:,} records wait"
        status.findings.append(error("lag", message, "is the worker running? 'millstream run'; its log says more"))
    interval_seconds = settings.checkpoints.interval_seconds
    if settings.checkpoints.url and status.entry is not None and not _has_finding(status, "checkpoint"):
        made = status.checkpoint
        made_ms = _started_ms(status) if made is None else made["created_at_ms"]
        age_seconds = (status.now_ms - made_ms) / 1000
        is_behind = made is None or made["epoch"] < status.entry.epoch
        if is_behind and age_seconds > MAX_CHECKPOINT_INTERVALS * interval_seconds:
            what = "there is none" if made is None else f"the newest is {duration(age_seconds)} old"
            fix = "look for checkpoint_failed in the worker's log; a restart re-learns what came after the newest one"
            status.findings.append(warning("checkpoint", what, fix))


def _started_ms(status: Status) -> float:
    """Return when the worker began, at which it cannot have a checkpoint yet; 0 where that is not known."""
    metrics = status.worker.metrics
    return 0.0 if metrics is None else metrics.value("process_start_time_seconds") * 1000


def _has_finding(status: Status, about: str) -> bool:
    return any(finding.about == about for finding in status.findings)
