"""A real Prometheus beside a real worker: every expression of each rule and panel has an answer, and a fault alerts."""

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from millstream.commands import dashboard as command
from millstream.dashboard import BOARDS
from millstream.dashboard.prometheus import Span
from millstream.local.embedded_broker import free_port
from stream.config.settings import Settings
from stream.log.kafka import ensure_topics
from tests.contracts.test_transports import kafka_settings
from tests.project.test_alerts import ALERTS, RECORDED, RULE_FILES, series_of
from tests.project.test_deploy import DEPLOY
from tests.support.forked import Forked
from tests.support.workers import DEADLINE_SECONDS, WorkerProcess, num_read, produce, until

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus (Debian: prometheus)"),
]


@dataclass
class Scene:
    """A worker that has learned, and the Prometheus that watches it."""

    settings: Settings
    worker: WorkerProcess
    url: str
    start: Callable[[], WorkerProcess]

    def get(self, path: str, **parameters: str) -> Any:
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(address, timeout=30) as answer:
            return json.load(answer)["data"]

    def values(self, expression: str) -> list[float]:
        """Return the value of every series that the expression has now."""
        return [float(series["value"][1]) for series in self.get("query", query=expression)["result"]]

    def until(self, expression: str) -> None:
        """Return when the expression has a value other than 0."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not any(self.values(expression)):
            assert time.monotonic() < deadline, f"not in {DEADLINE_SECONDS} s: {expression}\n{self.worker.text()}"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def scene(broker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with set_scene(broker, tmp_path_factory.mktemp("prometheus")) as scene:
        yield scene


@pytest.fixture
def scene_to_spoil(broker: Any, tmp_path: Path) -> Iterator[Scene]:
    """One of its own: tests come in any order, and the others look at a worker that lives."""
    with set_scene(broker, tmp_path) as scene:
        yield scene


@contextmanager
def set_scene(broker: Any, folder: Path) -> Iterator[Scene]:
    settings = kafka_settings(broker)
    ensure_topics(settings)
    produce(settings, 0, 400)
    port = free_port()
    started: list[WorkerProcess] = []

    def start() -> WorkerProcess:
        overrides = {"metrics.port": 0 if started else port, "checkpoints.interval_seconds": 2}
        (folder / str(len(started))).mkdir()
        log = folder / str(len(started)) / "worker.log"
        started.append(WorkerProcess(settings, log, start_process=Forked, **overrides))
        return started[-1]

    with ExitStack() as stack:
        stack.callback(lambda: [worker.end() for worker in started])
        worker = start()
        url = stack.enter_context(RunningPrometheus(folder, port))
        scene = Scene(settings, worker, url, start)
        until(lambda: num_read(settings) == 400, worker)
        scene.until("millstream_evaluated_events_total")
        produce(settings, 400, 600)  # only now: rates need two different samples
        until(lambda: num_read(settings) == 600, worker)
        scene.until("sum(rate(millstream_evaluated_events_total[1m]))")
        scene.until("millstream_checkpoint_bytes")
        scene.until("count(instance:millstream_ndcg:lead1h)")
        yield scene


class RunningPrometheus:
    """Prometheus with the rules and the settings of `deploy/`, but for addresses and intervals; gives its address."""

    def __init__(self, folder: Path, worker_port: int) -> None:
        config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(path) for path in RULE_FILES]
        addresses = {"millstream": f"127.0.0.1:{worker_port}", "prometheus": f"127.0.0.1:{(port := free_port())}"}
        config["scrape_configs"] = [job for job in config["scrape_configs"] if job["job_name"] in addresses]
        for job in config["scrape_configs"]:
            job["static_configs"] = [{"targets": [addresses[job["job_name"]]]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self._command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", "--log.level=warn"]
        self._command += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
        self._log, self._url = folder / "prometheus.log", f"http://127.0.0.1:{port}"

    def __enter__(self) -> str:
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not self._is_ready():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.1)
        return self._url

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def test_every_panel_of_every_dashboard_has_data(scene: Scene) -> None:
    now = time.time()
    span = Span(now - 300, now)
    queries = [
        (f"{name}: {panel.title}", span.concrete(query.expr))
        for name, board in BOARDS.items()
        for panel, _ in board.placed()
        for query in panel.queries
    ]

    assert len(queries) > 40
    assert [title for title, expression in queries if not scene.values(expression)] == []


def test_every_recorded_series_is_there_and_every_rule_was_understood(scene: Scene) -> None:
    for name in sorted(RECORDED):
        scene.until(f"count({name})")
    rules = [rule for group in scene.get("rules")["groups"] for rule in group["rules"]]

    assert {rule["name"] for rule in rules} == RECORDED | {rule["alert"] for rule in ALERTS}
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []


def test_every_series_that_an_alert_looks_at_is_there(scene: Scene) -> None:
    for rule in ALERTS:
        assert not scene.get("query", query=rule["expr"]).get("error")
        for series in series_of(rule["expr"]):
            assert scene.values(f"count({series})") != [], f"{rule['alert']}: nothing makes {series}"


def test_a_healthy_worker_makes_no_alert_but_of_the_letters_that_it_was_sent(scene: Scene) -> None:
    firing = scene.get("query", query='ALERTS{alertstate="firing"}')["result"]

    assert {alert["metric"]["alertname"] for alert in firing} <= {"MillstreamDeadLetters", "MillstreamDrift"}
    assert scene.values("instance:millstream_dead_letters:share10m") == [pytest.approx(0.02, abs=0.02)]


def test_what_prometheus_reads_passes_its_own_check(scene: Scene) -> None:
    (target,) = [t for t in scene.get("targets")["activeTargets"] if t["labels"]["job"] == "millstream"]
    with urllib.request.urlopen(target["scrapeUrl"], timeout=30) as answer:
        exposition = answer.read()
    checked = subprocess.run(["promtool", "check", "metrics"], input=exposition, capture_output=True, check=False)

    assert b"millstream_list_overlap_ratio_bucket" in exposition
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_the_command_draws_the_overview_with_these_data(scene: Scene, tmp_path: Path) -> None:
    command.dashboard(png=tmp_path / "overview.png", prometheus=scene.url, minutes=1.0)

    assert (tmp_path / "overview.png").read_bytes().startswith(b"\x89PNG")


def test_a_worker_that_is_replaced_is_told_of_although_it_ends(scene_to_spoil: Scene) -> None:
    scene = scene_to_spoil
    fenced = 'max_over_time(millstream_transactions_total{outcome="fenced"}[5m])'
    assert scene.values(fenced) == [0.0]

    heir = scene.start()
    until(lambda: "worker_started" in heir.text(), heir)
    produce(scene.settings, 600, 650)

    assert scene.worker.wait() == 5, scene.worker.text()
    scene.until('ALERTS{alertname="MillstreamWorkerFenced", alertstate="firing"}')
    assert scene.values(fenced) == [1.0]
    until(lambda: num_read(scene.settings) == 650, heir)
