"""What a person sees: the header, how far it is, the table; and the file with all numbers."""

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks.quality.metrics import QUALITY
from benchmarks.quality.protocol import TORCH_THREADS, Rules
from benchmarks.quality.stream import Stream

__all__ = ["facts_of", "merged_seeds", "progress", "show_header", "show_table", "write_report"]

_LINES_PER_MODEL = 5
"""How often it is said how far it is, where no line can be kept up to date."""


_HEADINGS = (
    *("NDCG@10", "HR@10", "MRR@10", "first 1/10", "last 1/2", "last 1/5", "cold"),
    *("ms learn", "ms rank", "MB", "coverage", "fame", "evaluated"),
)
_NARROW_COLUMNS = 5
_WIDTH = 150
"""Columns of text that the whole table takes; on a narrower terminal it has fewer, the report has all."""


class Shown(Protocol):
    """Is told how far a model is."""

    def __call__(self, num_done: int, ndcg: float) -> None:
        """Show events done and NDCG@10 so far."""


def facts_of(stream: Stream, rules: Rules) -> dict[str, Any]:
    """Return what the report says besides the figures: protocol, stream, machine."""
    return {
        "protocol": rules.described(),
        "stream": {"name": stream.name, **stream.facts},
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "torch": torch.__version__,
            "torch_threads": TORCH_THREADS,
            "cuda": torch.cuda.is_available(),
        },
    }


def show_header(console: Console, facts: Mapping[str, Any]) -> None:
    """Print what is promised and what was read."""
    for title in ("stream", "protocol"):
        console.print(f"[bold]{title}[/bold]")
        for name, value in facts[title].items():
            console.print(f"  {name}: {value}", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def progress(console: Console, name: str, num_events: int) -> Iterator[Shown]:
    """Give what shows how far ``name`` is: a bar with the running NDCG@10 on a terminal, else a few plain lines."""
    if not console.is_terminal:
        said = 0

        def plain(num_done: int, ndcg: float) -> None:
            nonlocal said
            if num_done * _LINES_PER_MODEL // num_events > said:
                said = num_done * _LINES_PER_MODEL // num_events
                console.print(f"{name}: {num_done:,} of {num_events:,} events, NDCG@10 {ndcg:.4f}", highlight=False)

        yield plain
        return
    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("NDCG@10 {task.fields[ndcg]:.4f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=num_events, ndcg=0.0)
        yield lambda num_done, ndcg: bar.update(task, completed=num_done, ndcg=ndcg)


def merged_seeds(by_seed: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the means over seeds, each seed below ``seeds``, and the largest less the smallest in ``spread``."""
    runs = list(by_seed.values())
    spread = {
        name: max(run[name] for run in runs) - min(run[name] for run in runs)
        for name in QUALITY
        if all(run[name] is not None for run in runs)
    }
    return {**_mean(runs), "seeds": {str(seed): dict(run) for seed, run in by_seed.items()}, "spread": spread}


def _mean(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, Mapping):
        return {key: _mean([value[key] for value in values]) for key in first}
    if isinstance(first, list):
        return [_mean(part) for part in zip(*values, strict=True)]
    if isinstance(first, bool) or not all(isinstance(value, int | float) for value in values):
        return first
    return first if all(value == first for value in values) else sum(values) / len(values)


def show_table(console: Console, report: Mapping[str, Any]) -> None:
    """Print the models, best NDCG@10 first, those that did not run last."""
    stream = report["stream"]
    table = Table(title=f"{stream['name']}: {stream['num_events']:,} events, {stream['num_items']:,} items")
    table.add_column("model", no_wrap=True)
    num_columns = len(_HEADINGS) if console.width >= _WIDTH else _NARROW_COLUMNS
    for heading in _HEADINGS[:num_columns]:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, figures in _best_first(report["models"]):
        table.add_row(name, *_cells(figures)[:num_columns], style="bold" if name == "default" else None)
    console.print(table)
    for name, figures in report["models"].items():
        if figures.get("note"):
            console.print(f"{name}: {figures['note']}", highlight=False, markup=False)
    for name, reason in report["not_run"].items():
        console.print(f"not run: {name}: {reason}", highlight=False, markup=False)


def _best_first(models: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(models.items(), key=lambda pair: -(pair[1]["ndcg_at_10"] or 0.0))


def _cells(figures: Mapping[str, Any]) -> list[str]:
    quality = [figures["ndcg_at_10"], figures["hr_at_10"], figures["mrr_at_10"]]
    parts = [figures[part]["ndcg_at_10"] for part in ("first_tenth", "last_half", "last_fifth", "cold_users")]
    cells = ["-" if value is None else f"{value:.4f}" for value in (*quality, *parts)]
    cells += [f"{figures['ms_learn']:.3f}", f"{figures['ms_rank']:.3f}", f"{figures['peak_mb']:.0f}"]
    cells += [f"{figures['coverage_at_10']:.3f}", f"{figures['mean_popularity_percentile_at_10']:.3f}"]
    return [*cells, f"{figures['num_evaluated']:,}"]


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write all numbers as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
