"""Live prequential quality: river's windows and drift detector over what the learner measured.

The learner ranks every positive event with a state that has not seen it and reports the rank; here ranks become hit
rate, NDCG and MRR at k, overall and over a sliding window, of the model and of both baselines on the same events.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from river import drift, stats, utils

from online_models import NO_ROW, StepReport, hit_rate, ndcg, reciprocal_rank
from stream.settings import QualitySettings

__all__ = ["Coverage", "LiveQuality", "ModelQuality"]


class Coverage:
    """Share of the catalogue that was in at least one list, ever and among the last W lists.

    Args:
        window: W, lists that are remembered.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._lists: deque[npt.NDArray[np.int64]] = deque()
        self._counts = np.zeros(0, np.int64)
        self._ever = np.zeros(0, np.bool_)

    def update(self, lists: npt.NDArray[np.int64]) -> None:
        """Take in new lists, `[E, K]` item rows, `NO_ROW` where shorter."""
        if not lists.size:
            return
        self._grow(int(lists.max()) + 1)
        for rows in lists:
            rows = rows[rows != NO_ROW].copy()
            self._ever[rows] = True
            self._counts[rows] += 1  # a list holds an item once
            self._lists.append(rows)
            if len(self._lists) > self._window:
                self._counts[self._lists.popleft()] -= 1

    def ratios(self, num_items: int) -> tuple[float, float]:
        """Return the share (sliding, overall) of `num_items` known items."""
        known = max(1, num_items)
        return min(1.0, np.count_nonzero(self._counts) / known), min(1.0, np.count_nonzero(self._ever) / known)

    def _grow(self, num_rows: int) -> None:
        if num_rows > self._counts.size:
            more = max(num_rows, 2 * self._counts.size) - self._counts.size
            self._counts = np.concatenate([self._counts, np.zeros(more, np.int64)])
            self._ever = np.concatenate([self._ever, np.zeros(more, np.bool_)])


@dataclass
class ModelQuality:
    """Running means of one model: `name -> (sliding, overall)`, in 0..1."""

    window: int
    coverage: Coverage = field(init=False)
    _sliding: dict[str, Any] = field(init=False)
    _overall: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        names = ("hit_ratio", "ndcg_ratio", "mrr_ratio")
        self.coverage = Coverage(self.window)
        self._sliding = {name: _untyped(utils).Rolling(stats.Mean, window_size=self.window) for name in names}
        self._overall = {name: stats.Mean() for name in names}

    def update(self, name: str, values: npt.NDArray[np.float64]) -> None:
        """Take in one metric of newly evaluated events, `[E]` in 0..1."""
        sliding, overall = self._sliding[name], self._overall[name]
        for value in values.tolist():  # river is fed one by one: 0.7 µs each, nine an event
            sliding.update(value)
            overall.update(value)

    def read(self, num_items: int) -> dict[str, tuple[float, float]]:
        """Return every metric as (sliding, overall)."""
        read = {name: (_ratio(self._sliding[name]), _ratio(self._overall[name])) for name in self._overall}
        return read | {"coverage_ratio": self.coverage.ratios(num_items)}


class LiveQuality:
    """Quality of the model and both baselines, and alarms when the model's loss drifts (ADWIN).

    Args:
        config: window and sensitivity.
        k: length of the lists.

    Source: Gama et al., "On evaluating stream learning algorithms", 2013 (prequential); Bifet and Gavaldà, "Learning
    from Time-Changing Data with Adaptive Windowing", 2007 (ADWIN).
    """

    def __init__(self, config: QualitySettings, k: int) -> None:
        self._config = config
        self._k = k
        self._adwin: Any = _untyped(drift).ADWIN(delta=config.drift_delta)
        self._mean_nats = 0.0
        self._loss: Any = _untyped(utils).Rolling(stats.Mean, window_size=config.window_events)
        self.models: dict[str, ModelQuality] = {}
        self.num_evaluated = 0
        self.num_drift_alarms = 0
        self.num_items = 0

    def update(self, report: StepReport) -> None:
        """Take in what a step measured."""
        self.num_evaluated += report.num_evaluated
        self.num_items = max(self.num_items, report.num_items_known)
        for name, ranks in report.ranks.items():
            model = self.models.setdefault(name, ModelQuality(self._config.window_events))
            model.update("hit_ratio", hit_rate(ranks, self._k))
            model.update("ndcg_ratio", ndcg(ranks, self._k))
            model.update("mrr_ratio", reciprocal_rank(ranks, self._k))
            model.coverage.update(report.top_rows[name])
        for loss in report.loss_nats.tolist():
            self._loss.update(loss)
            self._adwin.update(loss)
            self.num_drift_alarms += int(self._worse())

    def _worse(self) -> bool:
        # Only a change towards a larger loss is an alarm: getting better is what learning is for.
        before, self._mean_nats = self._mean_nats, float(self._adwin.estimation)
        return bool(self._adwin.drift_detected) and self._mean_nats > before

    @property
    def loss_nats(self) -> float:
        """Mean log-loss of the model over the window."""
        return float(self._loss.get())

    def read(self) -> Mapping[str, Mapping[str, tuple[float, float]]]:
        """Return `model -> metric -> (sliding, overall)`."""
        return {name: model.read(self.num_items) for name, model in self.models.items()}


def _ratio(mean: Any) -> float:
    return min(1.0, max(0.0, float(mean.get())))  # a window that takes values out again can end a hair below 0


def _untyped(module: Any) -> Any:
    return module  # river's annotations do not describe its constructors
