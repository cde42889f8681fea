"""Writing: a request's events go to the brokers, and are acknowledged once the brokers have acknowledged them."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from stream.config.settings import Settings
from stream.http.api.event_bodies import PostedEvents, PostedRecord
from stream.http.api.event_envelopes import Envelope, envelope_of, inflated
from stream.http.api.problem_details import Problem
from stream.log.kafka import AcknowledgedProducer, NotAcknowledged, NotWritten, Place
from stream.telemetry.metrics import Metrics

__all__ = ["Posting"]

BODY_SECONDS = 30.0
"""A body that takes longer is refused."""
MAX_BYTES_IN_FLIGHT = 67_108_864
"""Of all bodies together, from their first byte until they are answered."""
MAX_WRITING = 32
"""Requests that wait for the brokers at a time, a thread each."""
MAX_WAITING = 256
"""Requests that wait for such a thread."""


class BytesInFlight:
    """Counts the bytes of all bodies that are here and not answered yet.

    Args:
        most: bytes at a time; one body alone may be longer.
        tell: is told how many there are, after each change.
    """

    def __init__(self, most: int, tell: Callable[[int], None]) -> None:
        self._most, self._tell = most, tell
        self.held = 0

    def take(self, num_bytes: int, already: int) -> None:
        """Take in bytes of a body, of which so many are counted already.

        Raises:
            Problem: the others have taken all of the room.
        """
        if self.held + num_bytes > self._most and self.held > already:
            raise Problem("not-written", f"{self._most} bytes of bodies wait: send it again", {"retry-after": "1"})
        self.held += num_bytes
        self._tell(self.held)

    def give_back(self, num_bytes: int) -> None:
        """Let go of a body."""
        self.held -= num_bytes
        self._tell(self.held)


class Posting:
    """Answers those who post events.

    Args:
        settings: all settings.
        producer: writes to the events topic.
        metrics: of `SERVE_METRICS`.
    """

    def __init__(self, settings: Settings, producer: AcknowledgedProducer, metrics: Metrics) -> None:
        self._config = settings.serve
        self._posted = PostedEvents(settings.events, self._config.max_batch_events, settings.topics.events)
        self._producer = producer
        self._metrics = metrics
        self._threads = ThreadPoolExecutor(MAX_WRITING, "millstream-write")
        self._num_waiting = 0
        self._in_flight = BytesInFlight(MAX_BYTES_IN_FLIGHT, partial(metrics.set, "millstream_serve_body_bytes"))

    async def post(self, request: Request) -> Response:
        """Write the events of a request; 202 once all are acknowledged."""
        envelope = envelope_of(request.headers)
        body = bytearray()
        try:
            await self._read(request, body)
            if envelope.is_gzip:
                self._inflate(body)
            return await self._answer(bytes(body), envelope)
        finally:
            self._in_flight.give_back(len(body))

    def _inflate(self, body: bytearray) -> None:
        whole = inflated(bytes(body), self._config.max_body_bytes)
        self._in_flight.take(len(whole), len(body))
        self._in_flight.give_back(len(body))
        body[:] = whole

    async def _answer(self, body: bytes, envelope: Envelope) -> Response:
        try:
            records = self._posted.records(body, int(time.time() * 1000), envelope)
        except Problem as problem:
            self._metrics.count(
                "millstream_serve_events_total", problem.members.get("num_invalid", 0), outcome="invalid"
            )
            raise
        places = await self._write(records)
        written = [{"partition": partition, "offset": offset} for partition, offset in places]
        answer = {"accepted": len(written), "records": written}
        return Response(msgspec.json.encode(answer), 202, media_type="application/json")

    def close(self) -> None:
        """Wait for what is being written, and disconnect."""
        self._threads.shutdown(wait=True)
        self._producer.close()

    async def _read(self, request: Request, body: bytearray) -> None:
        limit = self._config.max_body_bytes
        too_large = Problem("body-too-large", f"expected at most {limit} bytes (serve.max_body_bytes)")
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > limit:
            raise too_large
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in request.stream():
                    if len(body) + len(chunk) > limit:
                        raise too_large
                    self._in_flight.take(len(chunk), len(body))
                    body += chunk
        except TimeoutError:
            raise Problem("slow-body", f"expected the whole body within {BODY_SECONDS:.0f} s") from None
        except ClientDisconnect:
            raise Problem("slow-body", "the client left before its body was here") from None

    async def _write(self, records: list[PostedRecord]) -> list[Place]:
        again = {"retry-after": "1"}
        if self._num_waiting >= MAX_WRITING + MAX_WAITING:
            self._metrics.count("millstream_serve_events_total", len(records), outcome="not_written")
            raise Problem("not-written", "too many requests wait for the brokers: send it again", again)
        self._num_waiting += 1
        try:
            written = await asyncio.get_running_loop().run_in_executor(self._threads, self._producer.write, records)
        except NotWritten as error:
            self._metrics.count("millstream_serve_events_total", len(records), outcome="not_written")
            raise Problem("not-written", f"nothing was written: send it again. {error}", again) from error
        except NotAcknowledged as error:
            self._metrics.count("millstream_serve_events_total", len(records), outcome="unknown")
            hint = "each event may or may not be written: send it again, with an id in each event no repetition counts"
            raise Problem("perhaps-written", f"{hint}. {error}", again) from error
        finally:
            self._num_waiting -= 1
        self._metrics.count("millstream_serve_events_total", len(records), outcome="acknowledged")
        return written
