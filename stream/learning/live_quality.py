"""Live prequential quality: river's windows and drift detector over what the learner measured.

The learner ranks every positive event with a state that has not seen it and reports the rank; here ranks become hit
rate, NDCG and MRR at k, overall and over a sliding window, of the model and of both baselines on the same events.
"""

import logging
import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from river import drift, stats, utils

from online_models import NO_ROW, State, StateError, StepReport, hit_rate, ndcg, reciprocal_rank
from stream.config.settings import QualitySettings
from stream.logs import log_event
from stream.versions import VERSIONS

__all__ = ["Coverage", "LiveQuality", "ModelQuality"]

_RIVER_VERSION = VERSIONS["river"]
_LIVE_KINDS = {
    "window_events": "int",
    "drift_delta": "float",
    "k": "int",
    "num_evaluated": "int",
    "num_drift_alarms": "int",
    "num_items": "int",
    "loss": "state",
    "drift": "state",
    "model_names": "list",
    "models": "state",
}
_DRIFT_KINDS = {
    "river_version": "str",
    "detector": "bytes",
    "detector_sum": "int",
    "is_detected": "bool",
    "mean_nats": "float",
}
"""What the parts of a state are: a type, `state` for a branch, or the dtype of an array and `[]` for each axis."""


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
        self._num_rows = 0  # of those allocated, the ones in use: the last of them was in a list

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

    def state(self) -> State:
        """Return a copy: the lists one after another, and which item rows ever were in one.

        How often an item is in the window follows from the lists.
        """
        return {
            "window": self._window,
            "rows": np.concatenate([np.zeros(0, np.int64), *self._lists]),
            "lengths": np.fromiter(map(len, self._lists), np.int64, len(self._lists)),
            "ever": self._ever[: self._num_rows].copy(),
        }

    def load(self, state: State, where: str = "coverage") -> None:
        """Take over the lists of `state`; it stays the caller's.

        Args:
            state: of a coverage with the same window.
            where: what an error calls this part.

        Raises:
            StateError: the state does not fit. Nothing has changed then.
        """
        parts = _parts(where, state, {"window": "int", "rows": "int64[]", "lengths": "int64[]", "ever": "bool[]"})
        _expect(f"{where}/window", self._window, parts["window"])
        rows, lengths, ever = parts["rows"].copy(), parts["lengths"], parts["ever"].copy()
        if lengths.size > self._window or (lengths < 0).any() or lengths.sum() != rows.size:
            raise StateError(
                f"{where}/lengths: expected at most {self._window}, {rows.size} in all, "
                f"got {lengths.size}, {lengths.sum()} in all"
            )
        if rows.size and not (0 <= rows.min() <= rows.max() < ever.size and ever[rows].all()):
            raise StateError(f"{where}/rows: expected only rows that ever were in a list, got others")
        ends = [0, *np.cumsum(lengths).tolist()]
        self._lists = deque(rows[start:end] for start, end in pairwise(ends))
        self._counts = np.bincount(rows, minlength=ever.size).astype(np.int64, copy=False)
        self._ever, self._num_rows = ever, ever.size

    def _grow(self, num_rows: int) -> None:
        self._num_rows = max(self._num_rows, num_rows)
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
        self._sliding = {name: _window(self.window) for name in names}
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

    def state(self) -> State:
        """Return a copy of all means, windows and the coverage."""
        return {
            "window": self.window,
            "coverage": self.coverage.state(),
            "sliding": {name: _window_state(window) for name, window in self._sliding.items()},
            "overall": {name: {"n": mean.n, "mean": mean.get()} for name, mean in self._overall.items()},
        }

    def load(self, state: State, where: str = "model") -> None:
        """Take over all means, windows and the coverage of `state`; it stays the caller's.

        Args:
            state: of the same window.
            where: what an error calls this part.

        Raises:
            StateError: the state does not fit. Nothing has changed then.
        """
        kinds = {"window": "int", "coverage": "state", "sliding": "state", "overall": "state"}
        parts, names = _parts(where, state, kinds), dict.fromkeys(self._overall, "state")
        _expect(f"{where}/window", self.window, parts["window"])
        sliding = _parts(f"{where}/sliding", parts["sliding"], names)
        overall = _parts(f"{where}/overall", parts["overall"], names)
        windows = {name: _loaded_window(f"{where}/sliding/{name}", self.window, sliding[name]) for name in names}
        means = {name: _loaded_mean(f"{where}/overall/{name}", overall[name]) for name in names}
        self.coverage.load(parts["coverage"], f"{where}/coverage")
        self._sliding, self._overall = windows, means


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
        self._adwin: Any = _adwin(config.drift_delta)
        self._mean_nats = 0.0
        self._loss: Any = _window(config.window_events)
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

    def state(self) -> State:
        """Return a copy of all that the next report is weighed with."""
        return {
            **self._settings(),
            "num_evaluated": self.num_evaluated,
            "num_drift_alarms": self.num_drift_alarms,
            "num_items": self.num_items,
            "loss": _window_state(self._loss),
            "drift": self._drift_state(),
            "model_names": list(self.models),
            "models": {name: model.state() for name, model in self.models.items()},
        }

    def load(self, state: State) -> None:
        """Take over everything of `state`; it stays the caller's.

        The drift detector starts anew, and the log says so, when another version of river saved it: its bytes are
        river's own layout, which promises nothing across versions.

        Raises:
            StateError: the state is of other settings, or no state of a live quality. Nothing has changed then.
        """
        # A branch without leaves is lost in a file: before the first report there are no models.
        parts = _parts("quality", {"models": {}, **state}, _LIVE_KINDS)
        for name, expected in self._settings().items():
            _expect(f"quality/{name}", expected, parts[name])
        window, names = self._config.window_events, parts["model_names"]
        models = {name: ModelQuality(window) for name in names}
        states = _parts("quality/models", parts["models"], dict.fromkeys(names, "state"))
        for name, model in models.items():
            model.load(states[name], f"quality/models/{name}")
        loss = _loaded_window("quality/loss", window, parts["loss"])
        self._adwin, self._mean_nats = self._loaded_drift(parts["drift"])
        self.models, self._loss = models, loss
        self.num_evaluated, self.num_items = parts["num_evaluated"], parts["num_items"]
        self.num_drift_alarms = parts["num_drift_alarms"]

    def _settings(self) -> dict[str, int | float]:
        config = self._config
        return {"window_events": config.window_events, "drift_delta": config.drift_delta, "k": self._k}

    def _drift_state(self) -> State:
        detector = self._adwin._helper.__getstate__()
        return {
            "river_version": _RIVER_VERSION,
            "detector": detector,
            "detector_sum": zlib.crc32(detector),
            "is_detected": bool(self._adwin.drift_detected),
            "mean_nats": self._mean_nats,
        }

    def _loaded_drift(self, state: State) -> tuple[Any, float]:
        """Return the detector and its mean before the next loss."""
        parts, adwin = _parts("quality/drift", state, _DRIFT_KINDS), _adwin(self._config.drift_delta)
        if parts["river_version"] != _RIVER_VERSION:
            log_event(
                logging.WARNING,
                "drift_detector_starts_anew",
                saved_by_river=parts["river_version"],
                river=_RIVER_VERSION,
                hint="alarms need a new run of losses first; to keep the detector, run the version that saved it",
            )
            return adwin, 0.0
        # river reads them unchecked: a wrong byte panics, at once or many losses later, past every `except Exception`.
        _expect("quality/drift/detector_sum", zlib.crc32(parts["detector"]), parts["detector_sum"])
        adwin._helper.__setstate__(parts["detector"])
        adwin._drift_detected = parts["is_detected"]
        return adwin, parts["mean_nats"]


def _ratio(mean: Any) -> float:
    return min(1.0, max(0.0, float(mean.get())))  # a window that takes values out again can end a hair below 0


def _adwin(delta: float) -> Any:
    return _untyped(drift).ADWIN(delta=delta)


def _window(size: int) -> Any:
    return _untyped(utils).Rolling(stats.Mean, window_size=size)


def _window_state(window: Any) -> State:
    # The mean is kept and not worked out again: its last bits are of all that ever came and went.
    values = np.fromiter((value for (value,), _ in window.window), np.float64, len(window.window))
    return {"values": values, "mean": window.obj.get()}


def _loaded_window(where: str, size: int, state: State) -> Any:
    parts, window = _parts(where, state, {"values": "float64[]", "mean": "float"}), _window(size)
    values = parts["values"].tolist()
    if len(values) > size:
        raise StateError(f"{where}/values: expected at most {size}, got {len(values)}")
    window.window.extend(((value,), {}) for value in values)
    window.obj = _mean(float(len(values)), parts["mean"])
    return window


def _loaded_mean(where: str, state: State) -> Any:
    parts = _parts(where, state, {"n": "float", "mean": "float"})
    if not parts["n"] >= 0:
        raise StateError(f"{where}/n: expected >= 0, got {parts['n']}")
    return _mean(parts["n"], parts["mean"])


def _mean(n: float, value: float) -> Any:
    mean: Any = stats.Mean()
    mean.n, mean._mean = n, value
    return mean


def _parts(where: str, state: State, kinds: Mapping[str, str]) -> Mapping[str, Any]:
    """Return `state`, which has the parts that `kinds` names, each of its kind, and no others."""
    got = {name: _kind(value) for name, value in state.items()}
    for name in sorted(got.keys() | kinds):
        _expect(f"{where}/{name}", kinds.get(name, "nothing"), got.get(name, "nothing"))
    return state


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{'[]' * value.ndim}"
    return "state" if isinstance(value, Mapping) else type(value).__name__


def _expect(where: str, expected: object, got: object) -> None:
    if expected != got:
        raise StateError(f"{where}: expected {expected}, got {got}")


def _untyped(module: Any) -> Any:
    return module  # river's annotations do not describe its constructors
