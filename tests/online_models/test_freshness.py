"""An event is ranked by what came before it, and by nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from online_models import SCORERS, Batch, OnlineLearner, StepReport
from tests.support.streams import cycle, events, run, small_config

NAMES = ("model", "transitions", "popularity")
NUM_PAST, NUM_EVENTS = 128, 48


def anything(rng: np.random.Generator) -> Batch:
    """Return events of every kind: new users and items, late, against their item, worth nothing, owned."""
    batch = events(
        rng.choice([0, 3, 9], NUM_EVENTS).tolist(),
        rng.integers(0, 30, NUM_EVENTS).tolist(),
        (1000 * (NUM_PAST + np.arange(NUM_EVENTS) + rng.integers(-4, 3, NUM_EVENTS))).tolist(),
        rng.choice([1.0, 2.5, -1.0, 0.0], NUM_EVENTS, p=[0.6, 0.2, 0.1, 0.1]).tolist(),
    )
    return replace(batch, event_types=rng.integers(0, 4, NUM_EVENTS, np.int8), owns=rng.random(NUM_EVENTS) < 0.5)


def joined(past: Batch, future: Batch, cut: int) -> Batch:
    fields = ("user_rows", "item_rows", "event_types", "times_ms", "weights", "owns")
    parts = {name: np.concatenate([getattr(past, name)[:cut], getattr(future, name)[cut:]]) for name in fields}
    return replace(past, **parts)


def until(report: StepReport, cut: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], list[np.ndarray]]:
    places = report.evaluated < cut
    ranks = {name: report.ranks[name][places] for name in NAMES}
    return report.evaluated[places], report.loss_nats[places], ranks, [report.top_rows[n][places] for n in NAMES]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("scorer", list(SCORERS))
def test_events_before_any_cut_are_ranked_alike_whatever_comes_after_it(scorer: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    past, cut = anything(rng), int(rng.integers(1, NUM_EVENTS))
    found = []
    for future in (anything(rng), anything(rng)):
        learner = OnlineLearner(small_config(scorer))
        run(learner, cycle(NUM_PAST), 32)
        found.append(until(learner.step(joined(past, future, cut)), cut))

    (places, losses, ranks, tops), (other_places, other_losses, other_ranks, other_tops) = found
    assert np.array_equal(places, other_places)
    # The sums of a sub-step are taken over shapes that depend on all of it, hence not bit for bit.
    assert np.allclose(losses, other_losses, atol=1e-4)
    assert all(np.array_equal(ranks[name], other_ranks[name]) for name in NAMES)
    assert all(np.array_equal(one, other) for one, other in zip(tops, other_tops, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scorer", list(SCORERS))
def test_the_list_an_event_is_ranked_in_does_not_depend_on_its_own_item(scorer: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    past, place = anything(rng), int(rng.integers(0, NUM_EVENTS))
    past.owns[:] = False  # so that either item is evaluated
    past.weights[place] = 1.0
    tops = []
    for item in (4, 19):
        past.item_rows[place] = item
        learner = OnlineLearner(small_config(scorer, k=30))
        run(learner, cycle(NUM_PAST), 32)
        report = learner.step(past)
        tops.append([report.top_rows[name][report.evaluated == place].tolist() for name in NAMES])

    assert tops[0] == tops[1]
    assert len(tops[0][0]) == 1
