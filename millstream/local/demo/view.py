"""What the terminal shows while the demo runs."""

import time
from collections import deque

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from millstream.diagnosis.scrape import Scrape
from millstream.local.demo.traffic import ListWatcher, Replay
from stream.telemetry.metrics import MODELS
from stream.wire.escaping import printable
from stream.wire.schema import Recommendation

__all__ = ["DemoView"]

HOLD_SECONDS = 2.5
"""A shown list stays this long, so that a person can read it."""
RATE_WINDOW_SECONDS = 5.0
NUM_SHOWN = 10


class DemoView:
    """Renders the state of a run.

    Args:
        titles: item id to title.
        num_events: how many events will be sent; None: not known.
        k: length of the lists.
    """

    def __init__(self, titles: dict[str, str], num_events: int | None, k: int) -> None:
        self._titles, self._num_events, self._k = titles, num_events, k
        self._history: deque[tuple[float, float, float]] = deque()
        self._shown: Recommendation | None = None
        self._shown_at = 0.0

    def observe(self, scrape: Scrape) -> None:
        """Take note of the counters, for the rates."""
        now = time.monotonic()
        read = scrape.value("millstream_events_total") + scrape.value("millstream_dead_letters_total")
        self._history.append((now, read, scrape.value("millstream_lists_published_total")))
        while now - self._history[0][0] > RATE_WINDOW_SECONDS:
            self._history.popleft()

    def render(self, replay: Replay, watcher: ListWatcher, scrape: Scrape) -> RenderableType:
        """Return the whole view. Something must have been observed."""
        now, read, _ = self._history[-1]
        columns = Table.grid(expand=True, padding=(0, 1))
        columns.add_column(ratio=2)
        columns.add_column(ratio=3)
        columns.add_row(
            Group(self._numbers(replay, watcher, scrape), _quality(scrape, self._k)), self._list(replay, watcher, now)
        )
        return Group(self._progress(read), columns)

    def _progress(self, read: float) -> RenderableType:
        total = self._num_events
        line = Table.grid(padding=(0, 1))
        text = f"{read:,.0f}" + (f" of {total:,} events learned" if total else " events learned")
        line.add_row(Text("Millstream", style="bold cyan"), ProgressBar(total=total, completed=read, width=40), text)
        return line

    def _numbers(self, replay: Replay, watcher: ListWatcher, scrape: Scrape) -> Panel:
        (start, read_then, lists_then), (now, read, lists) = self._history[0], self._history[-1]
        span = max(now - start, 1e-9)
        fresh = watcher.freshness_seconds(recent=True)
        rows = {
            "events/s": f"{(read - read_then) / span:,.0f}" if span > 0.5 else "…",
            "lists/s": f"{(lists - lists_then) / span:,.0f}" if span > 0.5 else "…",
            "sent, not learned yet": f"{max(0, replay.num_sent - read):,.0f}",
            "freshness p50 / p99": f"{_milliseconds(fresh['p50'])} / {_milliseconds(fresh['p99'])}",
            "users / items": f"{scrape.value('millstream_users'):,.0f} / {scrape.value('millstream_items'):,.0f}",
            "batches committed": f"{scrape.value('millstream_transactions_total', outcome='committed'):,.0f}",
            "dead letters": f"{scrape.value('millstream_dead_letters_total'):,.0f}",
            "drift alarms": f"{scrape.value('millstream_drift_alarms_total'):,.0f}",
        }
        table = Table.grid(expand=True, padding=(0, 1))
        table.add_column()
        table.add_column(justify="right")
        for name, value in rows.items():
            table.add_row(Text(name, style="dim"), Text(value, style="bold"))
        return Panel(table, title="stream", title_align="left")

    def _list(self, replay: Replay, watcher: ListWatcher, now: float) -> Panel:
        if now - self._shown_at > HOLD_SECONDS and watcher.newest is not None:
            self._shown, self._shown_at = watcher.newest, now
        if self._shown is None:
            return Panel("waiting for the first list", title="a user's list", title_align="left")
        table = Table.grid(expand=True, padding=(0, 1))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, ratio=5)
        table.add_column(no_wrap=True, ratio=4)
        for event in replay.newest_of(self._shown.user)[:3]:
            table.add_row(Text(event.type, style="green"), Text(self._title(event.item)), "")
        table.add_row("", "", "")
        for position, ranked in enumerate(self._shown.items[:NUM_SHOWN], 1):
            because = f"← {self._title(ranked.reason)}" if ranked.reason else ""
            table.add_row(
                Text(f"{position:>2}", style="cyan"), Text(self._title(ranked.item)), Text(because, style="dim")
            )
        title = f"user {printable(self._shown.user)}: just now, and the list after it (← because of)"
        return Panel(table, title=Text(title), title_align="left")

    def _title(self, item: str) -> str:
        return printable(self._titles.get(item, item))[:34]


def _quality(scrape: Scrape, k: int) -> Panel:
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column()
    for _ in range(3):
        table.add_column(justify="right")
    table.add_row(*(Text(head, style="dim") for head in ("", f"HR@{k}", f"NDCG@{k}", "coverage")))
    for model in MODELS:
        values = [
            scrape.value(f"millstream_{name}_ratio", model=model, window="overall")
            for name in ("hit", "ndcg", "coverage")
        ]
        style = "bold green" if model == "model" else ""
        table.add_row(Text(model, style=style), *(Text(f"{value:.3f}", style=style) for value in values))
    return Panel(table, title="ranked before learned", title_align="left")


def _milliseconds(seconds: float | None) -> str:
    return "…" if seconds is None else f"{seconds * 1000:,.0f} ms"
