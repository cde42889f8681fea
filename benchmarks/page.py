"""The page of the worker: its pictures, and what it costs the stream.

    python -m benchmarks.page pictures --out docs/images
    python -m benchmarks.page cost

`pictures` runs the demo and takes the page with the system's Chromium (pip install 'millstream[dev]'). `cost` learns a
part of the bundled stream from memory and says how much of the processor time of the worker's thread the page takes,
unseen and with one viewer; then it runs the demo with the page switched off, unseen and open in a browser.
"""

import argparse
import http.client
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

from playwright.sync_api import Browser, sync_playwright

from producers import dataset, encode_event
from stream.config.settings import Settings
from stream.durability.recovery import Recovery
from stream.http.page import Page
from stream.http.probe_server import HttpServer, create_app
from stream.learning.worker_state import WorkerState
from stream.log.memory import MemoryHistory, MemoryLog, MemoryTransport
from stream.pipeline import Pipeline
from stream.telemetry.health import Health
from stream.telemetry.metrics import Metrics

PICTURES = {"page": (1280, 1280, "dark"), "page-light": (1280, 1280, "light"), "page-phone": (390, 1500, "light")}
"""Name to width, height and colour scheme."""


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    pictures = commands.add_parser("pictures", help="take the pictures of the documents")
    pictures.add_argument("--out", type=Path, default=Path("docs/images"), help="folder")
    pictures.add_argument("--after", type=int, default=15_000, help="events before the pictures are taken")
    pictures.add_argument("--rate", default="200", help="events a second")
    pictures.set_defaults(run=lambda given: take_pictures(given.out, given.after, given.rate))
    cost = commands.add_parser("cost", help="measure what the page costs")
    cost.add_argument("--events", type=int, default=5_000)
    cost.add_argument("--runs", type=int, default=3, help="of the demo, each way")
    cost.set_defaults(run=lambda given: measure(given.events, given.runs))
    given = parser.parse_args()
    given.run(given)


def take_pictures(folder: Path, num_events: int, rate: str) -> None:
    """Write the pictures of `PICTURES` once so many events were learned."""
    with chromium() as browser, demo("--rate", rate) as (_, address):
        until_learned(browser, address, num_events)
        user = ""
        for name, (width, height, scheme) in PICTURES.items():
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            page = context.new_page()
            page.goto(address)
            page.wait_for_selector("#status[data-state=live]")
            page.wait_for_selector("#newest button")
            user = user or page.inner_text("#newest button >> nth=0")
            page.fill("#user", user)
            page.press("#user", "Enter")
            page.wait_for_selector("#places li", timeout=60_000)
            page.evaluate("document.activeElement.blur()")
            page.wait_for_timeout(1_500)
            file = folder / f"{name}.png"
            page.screenshot(path=file)
            print(f"{file}: {file.stat().st_size:,} bytes")
            context.close()


def until_learned(browser: Browser, address: str, num_events: int) -> None:
    """Return when the page says that so many events were read."""
    page = browser.new_page()
    page.goto(address)
    read = "() => Number(document.getElementById('rate-note').textContent.split(' ')[0].replaceAll(',', ''))"
    page.wait_for_function(f"least => ({read})() >= least", arg=num_events, timeout=600_000)
    page.close()


def measure(num_events: int, num_runs: int) -> None:
    """Print what the page takes of the worker's thread, and the speed of the demo without, with and under it."""
    for name, is_seen in (("unseen", False), ("one viewer", True)):
        loop, page = thread_seconds(num_events, is_seen=is_seen)
        print(f"{name}: {page:.3f} s of {loop + page:.2f} s of the worker's thread ({page / (loop + page):.2%})")
    for _ in range(num_runs):
        for name, flags in (("off", ["--set", "metrics.page=off"]), ("unseen", []), ("open", [])):
            print(
                f"demo, page {name}: {demo_speed(num_events, flags, is_open=name == 'open'):.0f} events/s", flush=True
            )


def thread_seconds(num_events: int, *, is_seen: bool) -> tuple[float, float]:
    """Return the processor seconds of the worker's thread for the stream itself and for the page."""
    settings = Settings.model_validate({"metrics": {"port": 0}})
    log = MemoryLog(1, lambda: time.time_ns() // 1_000_000)
    transport = MemoryTransport(log)
    recovery = Recovery(settings, lambda: MemoryHistory(log), None, lambda: WorkerState(settings, transport.partitions))
    pipeline, health = Pipeline(settings, transport, recovery), Health(60.0, time.monotonic)
    page = Page(settings, health)
    server = HttpServer(create_app(Metrics(), health, page.routes()), settings.metrics)
    server.start()
    health.started()
    viewer = threading.Thread(target=watch, args=(server.port,), daemon=True)
    if is_seen:
        viewer.start()
    loop_seconds = page_seconds = 0.0
    events = [encode_event(event) for event in islice(dataset("online-retail").events(), num_events)]
    for start in range(0, num_events, 50):  # as many a batch as the demo has
        for value in events[start : start + 50]:
            log.produce(value)
        begin = time.thread_time()
        report = pipeline.run_once()
        learned = time.thread_time()
        page.after_round(pipeline, report, {0: 0})
        loop_seconds += learned - begin
        page_seconds += time.thread_time() - learned
    page.close()
    server.stop()
    return loop_seconds, page_seconds


def watch(port: int) -> None:
    """Read the stream of the page until it ends."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/page/events")
    stream = connection.getresponse()
    while stream.readline():
        pass


def demo_speed(num_events: int, flags: list[str], *, is_open: bool) -> float:
    """Return the events a second of a demo at full speed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "r.json"
        arguments = ["--events", str(num_events), "--rate", "max", "--report", str(report), *flags]
        with chromium() as browser, demo(*arguments) as (process, address):
            if is_open:
                browser.new_page().goto(address)
            process.wait(600)
            return float(json.loads(report.read_text())["events_per_second"])


@contextmanager
def chromium() -> Iterator[Browser]:
    """Lend the system's Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def demo(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the demo and lend its process and the address of its page."""
    command = [sys.executable, "-m", "millstream", "demo", "--no-view", *arguments]
    process: Any = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    address = next(found[1] for line in process.stderr if (found := re.search(r"the page: (\S+)", line)))
    threading.Thread(target=drain, args=(process.stderr,), daemon=True).start()
    try:
        yield process, address
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(120)


def drain(lines: IO[str]) -> None:
    """Read on, so that the demo can write on."""
    for _ in lines:
        pass


if __name__ == "__main__":
    main()
