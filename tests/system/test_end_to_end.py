"""With the tools of a stranger: curl posts, the worker learns, curl and kcat read the same list."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from millstream.local.embedded_broker import free_port
from stream.config.settings import Settings
from tests.support.servers import Client, settings_on, until
from tests.support.workers import TOPICS, WorkerProcess

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl"),
    pytest.mark.skipif(shutil.which("kcat") is None, reason="needs kcat"),
]


@pytest.fixture
def settings(broker: Any) -> Settings:
    return settings_on(broker.bootstrap_servers)


@pytest.fixture
def server(settings: Settings, tmp_path: Path) -> Iterator[tuple["subprocess.Popen[bytes]", Client]]:
    """`millstream serve`, as a person starts it."""
    port = free_port()
    chosen = {"serve.port": port, **{f"topics.{name}": getattr(settings.topics, name) for name in TOPICS}}
    flags = [part for name, value in chosen.items() for part in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "millstream", "serve", "-b", settings.kafka.bootstrap_servers, *flags]
    with (tmp_path / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
    try:
        yield process, Client(port)
    finally:
        process.kill()
        process.wait()


def curl(*arguments: str) -> str:
    return subprocess.run(["curl", "-sSf", *arguments], check=True, capture_output=True, text=True, timeout=60).stdout


def is_ready(client: Client) -> bool:
    try:
        return client.get("/readyz").status == 200
    except OSError:
        return False


def test_curl_posts_the_worker_learns_and_curl_and_kcat_read_the_same_list(
    settings: Settings, server: tuple["subprocess.Popen[bytes]", Client], tmp_path: Path
) -> None:
    process, client = server
    until(lambda: is_ready(client))
    base = f"http://127.0.0.1:{client.port}/v1"
    events = [{"user": f"u{n % 9}", "item": f"i{n % 7}", "type": "click"} for n in range(60)]
    own = [{"user": "ana", "item": "i1", "type": "view"}, {"user": "ana", "item": "i2", "type": "view"}]
    worker = WorkerProcess(settings, tmp_path / "worker.log")
    follower = subprocess.Popen(
        ["curl", "-sN", "--max-time", "300", f"{base}/users/ana/recommendations/stream"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        posted = curl("-H", "content-type: application/json", "-d", json.dumps(events + own), f"{base}/events")
        assert json.loads(posted)["accepted"] == 62

        until(lambda: client.get("/v1/users/ana/recommendations").status == 200)
        assert worker.process.poll() is None, worker.text()
        # Her two events may be in two batches: then there is a second list.
        until(lambda: curl(f"{base}/users/ana/recommendations") == newest_of(settings, "ana"))
        read = curl(f"{base}/users/ana/recommendations")
        assert json.loads(read)["items"]

        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        followed, _ = follower.communicate(timeout=60)
        assert f"data: {read}\n" in followed
        assert follower.returncode == 0  # the stream was ended in the orderly way
        assert "serve_stopped" in (tmp_path / "serve.log").read_text()
    finally:
        follower.kill()
        follower.wait()
        worker.end()


def newest_of(settings: Settings, user: str) -> str:
    """Return the newest list of a user as kcat reads it."""
    source = ["-b", settings.kafka.bootstrap_servers, "-t", settings.topics.recommendations]
    command = ["kcat", "-C", *source, "-e", "-q", "-X", "isolation.level=read_committed", "-f", "%k\t%s\n"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
    return [line.partition("\t")[2] for line in lines if line.startswith(f"{user}\t")][-1]
