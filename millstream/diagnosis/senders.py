"""What a worker has noticed of those who send it events: repetitions, ids that are no names, keys that split users.

The events were learned or skipped by then; only their senders can put it right.
"""

from collections.abc import Iterator

from millstream.diagnosis.findings import Finding, ok, warning
from millstream.diagnosis.scrape import Scrape
from millstream.diagnosis.worker_client import ask_worker

__all__ = ["MAX_REPETITION_RATIO", "sender_findings", "senders_of"]

MAX_REPETITION_RATIO = 0.05
"""A producer that sends again after timeouts stays far below."""
_KEY_FIX = "let every sender use the user id as the key, and one partitioner: docs/producing.md, The key and the order"


def senders_of(url: str) -> list[Finding]:
    """Return what the worker at `url` has noticed; where none answers, that."""
    metrics = ask_worker(url).metrics
    if metrics is None:
        return [ok("senders", f"no worker answers at {url}, so nothing is known of those who send events")]
    return list(sender_findings(metrics)) or [ok("senders", "ids and keys of the events are as they should be")]


def sender_findings(metrics: Scrape) -> Iterator[Finding]:
    """Yield what is wrong with the events since the worker's start.

    Args:
        metrics: of a worker.
    """
    reused = int(metrics.value("millstream_reused_ids_total"))
    if reused:
        message = f"{_number(reused, 'event')} learned under an id that another event has had"
        fix = "give every event an id of its own, or none (a file whose column id is something else: --map id=)"
        yield warning("ids", message, fix)
    total = metrics.value("millstream_events_total")
    repeated = int(metrics.value("millstream_events_total", outcome="duplicate"))
    if repeated > MAX_REPETITION_RATIO * total:
        message = f"{_number(repeated, 'event')} skipped as repetitions, {repeated / total:.0%} of all"
        yield warning("repetitions", message, "find the sender that sends the same events again")
    split = int(metrics.value("millstream_split_users_total"))
    if split:
        message = f"{_number(split, 'user')} in two partitions, with two histories that know nothing of each other"
        yield warning("keys", message, _KEY_FIX)
    missing, other = (
        int(metrics.value("millstream_key_mismatch_total", reason=reason)) for reason in ("missing", "other")
    )
    if missing or other:
        message = (
            f"{_number(missing, 'event')} without a key, {other:,} with another one than the user: without an order"
        )
        yield warning("keys", message, _KEY_FIX)


def _number(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
