"""What a running worker says over HTTP, and how it is ended."""

import signal
import urllib.error
import urllib.request

from tests.support.workers import WorkerProcess


def probe(port: int, path: str) -> int:
    """Return the status code of /livez or /readyz."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def metric(port: int, name: str) -> float:
    """Return the value of one metric, its labels written as they are shown; 0 when it is not there."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), 0.0)


def stopped(worker: WorkerProcess) -> int:
    """End the worker with SIGTERM and return its exit code."""
    worker.process.send_signal(signal.SIGTERM)
    return worker.wait()


def killed(worker: WorkerProcess) -> None:
    """End the worker with SIGKILL."""
    worker.process.send_signal(signal.SIGKILL)
    worker.wait()
