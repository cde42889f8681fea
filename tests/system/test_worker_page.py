"""The page of a worker process on a real broker, with titles from their topic; and a clean end while somebody looks."""

import http.client
import json
import re
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from producers.item_titles import send_titles
from stream.log.kafka import ensure_topics
from tests.contracts.test_transports import kafka_settings
from tests.support.forked import Forked
from tests.support.workers import DEADLINE_SECONDS, WorkerProcess, num_read, produce, until

pytestmark = pytest.mark.broker


def test_a_worker_shows_titles_and_ends_cleanly_while_somebody_looks(broker: Any, tmp_path: Path) -> None:
    settings = kafka_settings(broker)
    ensure_topics(settings)
    titles = {f"i{number}": f"Thing {number}" for number in range(53)}
    send_titles(titles, settings.kafka, settings.topics.items)
    worker = WorkerProcess(settings, tmp_path / "worker.log", start_process=Forked)
    try:
        until(lambda: "worker_started" in worker.text(), worker)
        found = re.search(r"http://127\.0\.0\.1:(\d+)/metrics", worker.text())
        assert found is not None
        viewer = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=DEADLINE_SECONDS)
        viewer.request("GET", "/page/events")
        stream = viewer.getresponse()
        produce(settings, 0, 100)
        until(lambda: num_read(settings) == 100, worker)

        def user() -> Any:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{found[1]}/page/user?id=u3", timeout=DEADLINE_SECONDS
            ) as got:
                return json.loads(got.read())

        until(lambda: bool(user()["titles"]), worker)
        item = user()["history"][0]["item"]
        assert user()["titles"][item] == f"Thing {item[1:]}"

        worker.process.send_signal(signal.SIGTERM)
        assert worker.wait() == 0
        while stream.readline():
            pass  # to its end: nothing hangs
        viewer.close()
    finally:
        worker.end()
