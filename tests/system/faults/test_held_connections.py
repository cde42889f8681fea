"""Thousands of connections that ask for nothing, at the usual limit of open files: worker and server go on."""

import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from millstream.local.embedded_broker import free_port
from stream.config.settings import Settings
from tests.support.probes import metric, probe, stopped
from tests.support.servers import Client
from tests.support.servers import until as wait_for
from tests.support.workers import TOPICS, WorkerProcess, num_read, produce, until

pytestmark = [pytest.mark.broker, pytest.mark.slow]

NUM_IDLE, NUM_HALF_HEADS = 2_100, 500
WRITTEN = 'millstream_checkpoints_total{outcome="written"}'


def with_few_descriptors(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    program = (
        "import resource, runpy; resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024)); "
        "runpy.run_module('millstream', run_name='__main__', alter_sys=True)"
    )
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-c", program, *arguments], stdout=output, stderr=subprocess.STDOUT, cwd=Path.cwd()
        )


@pytest.fixture
def descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8_192)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def is_ready(port: int) -> bool:
    try:
        return probe(port, "readyz") == 200
    except OSError:  # it does not listen yet
        return False


def hold(port: int, stack: ExitStack) -> None:
    for number in range(NUM_IDLE + NUM_HALF_HEADS):
        client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
        if number >= NUM_IDLE:
            with suppress(OSError):  # ended already, to make room
                client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")


@pytest.mark.usefixtures("descriptors")
def test_a_worker_learns_and_answers_probes_while_thousands_of_connections_are_held(
    settings: Settings, tmp_path: Path
) -> None:
    port = free_port()
    overrides: dict[str, Any] = {"metrics.port": port, "checkpoints.interval_seconds": 0.2}
    worker = WorkerProcess(settings, tmp_path / "worker.log", start_process=with_few_descriptors, **overrides)
    try:
        produce(settings, 0, 50)
        until(lambda: num_read(settings) == 50, worker)
        with ExitStack() as stack:
            hold(port, stack)
            num_written = metric(port, WRITTEN)
            produce(settings, 50, 150)
            until(lambda: num_read(settings) == 150 and metric(port, WRITTEN) > num_written, worker)
            assert [probe(port, path) for path in ("livez", "readyz", "healthz")] == [200, 200, 200]
            for number in range(3):
                lag = f'millstream_consumer_lag_records{{partition="{number}"}}'
                until(lambda lag=lag: metric(port, lag) == 0, worker)  # type: ignore[misc]
        assert stopped(worker) == 0, worker.text()
        assert "Too many open files" not in worker.text()
    finally:
        worker.end()


@pytest.mark.usefixtures("descriptors")
def test_a_server_answers_everybody_while_thousands_of_connections_are_held(settings: Settings, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "serve.log"
    chosen = {
        "serve.port": port,
        "kafka.bootstrap_servers": settings.kafka.bootstrap_servers,
        **{f"topics.{name}": getattr(settings.topics, name) for name in TOPICS},
    }
    flags = [flag for name, value in chosen.items() for flag in ("--set", f"{name}={value}")]
    process = with_few_descriptors(["serve", *flags], log)
    try:
        client = Client(port)
        wait_for(lambda: is_ready(port))
        with ExitStack() as stack:
            hold(port, stack)
            assert [probe(port, path) for path in ("livez", "readyz", "healthz")] == [200, 200, 200]
            assert client.get("/v1/users/nobody/recommendations").status == 404
            assert client.post({"user": "ana", "item": "a", "type": "click"}).status == 202
        assert process.poll() is None
        assert "few_descriptors" in log.read_text()
        assert "Too many open files" not in log.read_text()
    finally:
        process.terminate()
        assert process.wait(60) == 0
