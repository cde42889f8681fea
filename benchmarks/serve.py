"""What `millstream serve` needs: memory per user, time to read the topic at the start, and answers per second.

    python -m benchmarks.serve --users 100000

Publishes a list of ten items for each user to an embedded broker, starts a server in a process of its own, and asks it.
"""

import argparse
import asyncio
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import msgspec

from millstream.local.embedded_broker import EmbeddedBroker, free_port
from stream.config.settings import KafkaSettings, Settings
from stream.log.kafka import EventProducer, ensure_topics
from stream.wire.schema import RankedItem, Recommendation

CONNECTIONS = 32


def main() -> None:
    """Measure, and print what came out as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=10_000)
    args = parser.parse_args()
    with EmbeddedBroker() as broker:
        settings = Settings(kafka=KafkaSettings(bootstrap_servers=broker.bootstrap_servers))
        ensure_topics(settings)
        empty_bytes, _, _ = measure(settings, 0, 0)
        value_bytes = publish(settings, args.users)
        full_bytes, ready_seconds, rates = measure(settings, args.users, args.requests)
    found = {
        "users": args.users,
        "json_bytes_per_user": value_bytes / args.users,
        "resident_bytes_empty": empty_bytes,
        "resident_bytes_full": full_bytes,
        "resident_bytes_per_user": (full_bytes - empty_bytes) / args.users,
        "start_to_ready_seconds": ready_seconds,
        **rates,
    }
    print(msgspec.json.format(msgspec.json.encode(found)).decode())


def publish(settings: Settings, num_users: int) -> int:
    """Write a list for each user; return the bytes of all values."""
    total = 0
    with EventProducer(settings.kafka, settings.topics.recommendations) as producer:
        for number in range(num_users):
            ranked = [RankedItem(f"item-{number * 7 % 9999 + n}", 0.123456, f"item-{n}") for n in range(10)]
            value = msgspec.json.encode(Recommendation(f"user-{number}", time.time_ns() // 10**6, 0, 1, "m-1", ranked))
            producer.send(f"user-{number}".encode(), value)
            total += len(value)
    return total


def measure(settings: Settings, num_users: int, num_requests: int) -> tuple[int, float, dict[str, float]]:
    """Return resident bytes, seconds from the start to readiness, and rates and times of requests."""
    port = free_port()
    overrides = ["--set", f"serve.port={port}", "-b", settings.kafka.bootstrap_servers]
    began = time.monotonic()
    server = subprocess.Popen([sys.executable, "-m", "millstream", "serve", *overrides], stderr=subprocess.DEVNULL)
    try:
        while not is_ready(port):
            time.sleep(0.05)
        ready_seconds = time.monotonic() - began
        rates = asyncio.run(ask(port, num_users, num_requests)) if num_requests else {}
        pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
    finally:
        server.terminate()
        server.wait()
    return pages * 4096, ready_seconds, rates


def is_ready(port: int) -> bool:
    """Return whether /readyz answers 200."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


async def ask(port: int, num_users: int, num_requests: int) -> dict[str, float]:
    """Ask for lists over kept connections, as a shop front would."""
    seconds: list[float] = []
    numbers = iter(range(num_requests))

    async def one_connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            began = time.perf_counter()
            path = f"/v1/users/user-{number * 7919 % num_users}/recommendations"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
            seconds.append(time.perf_counter() - began)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(one_connection() for _ in range(CONNECTIONS)))
    seconds.sort()
    return {
        "lists_per_second": num_requests / (time.perf_counter() - began),
        "p50_seconds": seconds[len(seconds) // 2],
        "p99_seconds": seconds[len(seconds) * 99 // 100],
    }


if __name__ == "__main__":
    main()
