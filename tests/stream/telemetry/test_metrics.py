"""Metrics are complete from the first scrape, filled from arrays, clean by promtool's rules, and documented."""

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from stream.telemetry.metrics import METRICS, SERVE_METRICS, STAGES, ArrayHistogram, Metrics, MetricSpec

ROOT = Path(__file__).resolve().parents[3]

ALL = METRICS | SERVE_METRICS


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_every_metric_with_known_labels_is_there_before_the_first_event() -> None:
    found = samples(Metrics())

    assert found["millstream_dead_letters_total", (("code", "not_json"),)] == 0
    assert found["millstream_hit_ratio", (("model", "transitions"), ("window", "sliding"))] == 0
    assert found["millstream_events_total", (("outcome", "learned"), ("type", "purchase"))] == 0
    assert all(("millstream_stage_seconds_count", (("stage", stage),)) in found for stage in STAGES)


def test_a_histogram_counts_a_whole_array_as_prometheus_counts_single_values() -> None:
    histogram = ArrayHistogram("h", MetricSpec("histogram", "help", {}, (1.0, 2.0)))

    histogram.observe([0.5, 1.0, 1.5, 2.0, 7.0])
    histogram.observe(3.0)

    (family,) = histogram.collect()
    values = {(s.name, s.labels.get("le")): s.value for s in family.samples}
    assert values == {
        ("h_bucket", "1.0"): 2,
        ("h_bucket", "2.0"): 4,
        ("h_bucket", "+Inf"): 6,
        ("h_count", None): 6,
        ("h_sum", None): 15.0,
    }


def test_an_empty_array_counts_nothing() -> None:
    histogram = ArrayHistogram("h", MetricSpec("histogram", "help", {}, (1.0,)))

    histogram.observe([])

    assert histogram.sum() == 0.0


def test_no_label_can_hold_a_user_or_an_item() -> None:
    open_labels = {label for spec in ALL.values() for label, values in spec.labels.items() if values is None}
    known_at_start = {"version", "model", "device", "torch", "kafka_python"}
    bounded_by_the_server = {"route", "method", "status"}

    assert open_labels == {"partition", "table", "channel", *known_at_start, *bounded_by_the_server}


def test_the_metrics_page_lists_every_metric_with_its_kind_and_help() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")

    for name, spec in ALL.items():
        row = next((line for line in page.splitlines() if line.startswith(f"| `{name}` |")), None)
        assert row is not None, f"docs/metrics.md has no row for {name}"
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 7, f"{name}: expected metric, kind, unit, labels, meaning, what is normal and what to do"
        assert all(cells), name
        assert f"| {spec.kind} |" in row
        assert spec.help in row
        assert all(f"`{label}`" in row for label in spec.labels)
    listed = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `millstream_")}
    assert listed == set(ALL)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool: apt-get install prometheus")
def test_promtool_finds_nothing_to_complain_about() -> None:
    metrics = Metrics()
    metrics.count("millstream_lists_published_total", 3)
    metrics.set("millstream_consumer_lag_records", 3, partition="0")
    metrics.observe("millstream_stage_seconds", [0.1, 0.2], "learn")

    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics.exposition(), capture_output=True, check=False
    )

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_who_ends_waits_for_a_reader_that_was_there_before_and_sees_the_last_count() -> None:
    metrics = Metrics()
    metrics.exposition()
    metrics.count("millstream_transactions_total", outcome="fenced")
    seen: list[bytes] = []
    has_ended = threading.Event()

    def read() -> None:
        while not has_ended.wait(0.01):
            seen.append(metrics.exposition())

    reader = threading.Thread(target=read)
    reader.start()
    metrics.wait_for_reader(60.0)
    has_ended.set()
    reader.join()

    assert seen
    assert b'millstream_transactions_total{outcome="fenced"} 1.0' in seen[0]


def test_a_reader_who_began_before_the_last_count_ends_no_wait() -> None:
    metrics = Metrics()

    class Ending(Collector):
        """The end of the worker, amid a scrape."""

        def collect(self) -> Iterator[Metric]:
            metrics.wait_for_reader(0.0)
            return iter(())

    metrics.registry.register(Ending())
    metrics.wait_for_reader(0.0)

    metrics.exposition()

    assert not metrics._was_read.is_set()


def test_without_a_reader_nobody_waits_and_for_a_reader_that_is_gone_not_for_ever() -> None:
    metrics = Metrics()
    begun = time.monotonic()

    metrics.wait_for_reader(60.0)
    assert time.monotonic() - begun < 30.0

    metrics.exposition()
    metrics.wait_for_reader(0.05)
    assert time.monotonic() - begun >= 0.05
