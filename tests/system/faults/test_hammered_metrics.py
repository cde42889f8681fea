"""Who asks for the metrics without a pause, and who never reads the answer, slows learning down and stops nothing."""

import socket
import threading
import urllib.request
from contextlib import ExitStack

import pytest

from millstream.local.embedded_broker import free_port
from stream.config.settings import Settings
from tests.support.probes import probe, stopped
from tests.support.workers import num_read, produce, until
from tests.system.faults.conftest import Start

pytestmark = pytest.mark.broker

NUM_HAMMERS, NUM_SLOW, NUM_EVENTS = 4, 20, 400


def test_a_worker_learns_and_answers_probes_while_its_metrics_are_hammered_and_not_read(
    settings: Settings, launch: Start
) -> None:
    port = free_port()
    worker = launch(settings, **{"metrics.port": port})
    until(lambda: "worker_started" in worker.text(), worker)
    is_over, num_answers = threading.Event(), [0] * NUM_HAMMERS

    def hammer(number: int) -> None:
        while not is_over.is_set():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
                num_answers[number] += answer.status == 200

    hammers = [threading.Thread(target=hammer, args=(number,)) for number in range(NUM_HAMMERS)]
    with ExitStack() as stack:
        for _ in range(NUM_SLOW):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)  # none of them is ever read
        for thread in hammers:
            thread.start()
        try:
            produce(settings, 0, NUM_EVENTS)
            until(lambda: num_read(settings) == NUM_EVENTS, worker)
            assert [probe(port, path) for path in ("livez", "readyz", "healthz")] == [200, 200, 200]
        finally:
            is_over.set()
            for thread in hammers:
                thread.join()

    assert min(num_answers) > 0
    assert stopped(worker) == 0
