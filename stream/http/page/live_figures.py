"""The figures of the page, kept beside the stream on the worker's thread: bounded, and cheap when nobody looks."""

from collections import Counter, deque
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from online_models import NO_ROW
from stream.config.settings import Settings
from stream.http.page.snapshot import EpochLine, Point, RisingLine, Snapshot
from stream.http.page.trending import Rising
from stream.learning.live_quality import LiveQuality
from stream.pipeline import BatchReport, Pipeline
from stream.telemetry.metrics import MODELS
from stream.telemetry.observer import waits_seconds

__all__ = ["Board"]

POINT_INTERVAL_SECONDS = 1.0
NUM_POINTS = 600
"""Ten minutes of moving lines; Prometheus has the rest."""
NUM_EPOCHS = 12
NUM_RISING = 8
NUM_USERS = 6
RATE_SECONDS = 5.0
FRESHNESS_SECONDS = 30.0
MOST_BATCHES = 4_096
"""Batches of the newest seconds that are remembered, however many there were."""


class Board:
    """What was committed lately, in numbers.

    Args:
        settings: of the worker.
        now: monotonic seconds at the start.
    """

    def __init__(self, settings: Settings, now: float) -> None:
        self._settings = settings
        self._started = now
        self._batches: deque[tuple[float, int, npt.NDArray[np.float64]]] = deque(maxlen=MOST_BATCHES)
        self._epochs: deque[EpochLine] = deque(maxlen=NUM_EPOCHS)
        self._points: deque[Point] = deque(maxlen=NUM_POINTS)
        self._point_due = now + POINT_INTERVAL_SECONDS
        self._rising = Rising()
        self._dead_letters: Counter[str] = Counter()
        self._newest_users: tuple[str, ...] = ()
        self._num_events = self._num_lists = self._lag_records = 0

    def committed(self, report: BatchReport, now: float) -> None:
        """Take in a committed batch; `now` is monotonic seconds."""
        batch = report.encoded.batch
        self._batches.append((now, len(report.records), waits_seconds(report)))
        self._forget(now)
        taken = (batch.weights > 0) & (batch.item_rows != NO_ROW)  # an item that is not admitted yet has no count
        self._rising.learn(batch.item_rows[taken], batch.reset_item_rows)
        self._dead_letters.update(letter.code.value for letter in report.decoded.dead_letters)
        self._num_events += len(report.records)
        self._num_lists += report.num_lists
        users = dict.fromkeys((*reversed(report.encoded.touched.ids[-NUM_USERS:]), *self._newest_users))
        self._newest_users = tuple(users)[:NUM_USERS]
        self._epochs.appendleft(
            EpochLine(
                epoch=report.epoch,
                committed_at_ms=report.committed_at_ms,
                records=len(report.records),
                lists=report.num_lists,
                dead_letters=len(report.decoded.dead_letters),
                seconds=sum(seconds for stage, seconds in report.stage_seconds.items() if stage != "poll"),
            )
        )

    def went_round(self, quality: LiveQuality, lag: Mapping[int, int], now: float, now_ms: int) -> None:
        """Take in the loop's round, with a batch or without: once a second the lines get a point."""
        self._lag_records = sum(lag.values())
        if now < self._point_due:
            return
        self._point_due = now + POINT_INTERVAL_SECONDS
        ratios = quality.read() if quality.num_evaluated else {}
        hits = tuple(round(ratios[name]["hit_ratio"][0], 5) for name in MODELS) if ratios else None
        self._points.append(Point(now_ms, round(self._rate(now), 2), self._lag_records, hits))

    def read(self, pipeline: Pipeline, now: float, now_ms: int) -> Snapshot:
        """Return the figures of now; only between two batches."""
        self._forget(now)
        settings, encoder = self._settings, pipeline.state.encoder
        waits = [waits for _, _, waits in self._batches if waits.size]
        p50, p99 = np.percentile(np.concatenate(waits), [50, 99]).tolist() if waits else (None, None)
        return Snapshot(
            at_ms=now_ms,
            epoch=pipeline.epoch,
            model=settings.model.scorer,
            device=pipeline.state.learner.device,
            k=settings.model.k,
            window_events=settings.quality.window_events,
            models=MODELS,
            num_events=self._num_events,
            num_lists=self._num_lists,
            num_users=len(encoder.users),
            num_items=len(encoder.items),
            events_per_second=self._rate(now),
            freshness_p50_seconds=p50,
            freshness_p99_seconds=p99,
            lag_records=self._lag_records,
            dead_letters=dict(self._dead_letters),
            epochs=tuple(self._epochs),
            rising=tuple(
                RisingLine(encoder.items.id_of(rise.row), rise.lift) for rise in self._rising.best(NUM_RISING)
            ),
            newest_users=self._newest_users,
            points=tuple(self._points),
        )

    def _rate(self, now: float) -> float:
        num = 0
        for at, records, _ in reversed(self._batches):
            if now - at >= RATE_SECONDS:
                break
            num += records
        return num / min(RATE_SECONDS, max(now - self._started, POINT_INTERVAL_SECONDS))

    def _forget(self, now: float) -> None:
        while self._batches and now - self._batches[0][0] > FRESHNESS_SECONDS:
            self._batches.popleft()
