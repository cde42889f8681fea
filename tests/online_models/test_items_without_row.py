"""Events on items that own no row yet: honest misses, and nothing is learned from them."""

import numpy as np
import pytest

from online_models import NO_ROW, SCORERS, OnlineLearner, digest
from tests.support.streams import cycle, events, run, small_config


def test_a_positive_event_on_an_item_without_a_row_is_a_miss_of_everybody() -> None:
    learner = OnlineLearner(small_config())
    run(learner, cycle(64), 32)
    known = len(np.unique(cycle(64).item_rows))

    report = learner.step(events([1, 2, 3, 4], [NO_ROW, 5, NO_ROW, NO_ROW], weights=[1.0, 1.0, -1.0, 0.0]))

    assert report.evaluated.tolist() == [0, 1]
    assert (report.num_events, report.num_evaluated, report.num_learned) == (4, 2, 1)
    for ranks in report.ranks.values():
        assert np.isinf(ranks[0])
        assert np.isfinite(ranks[1])
    assert report.loss_nats[0] == pytest.approx(np.log(known + 1))
    assert (report.top_rows["model"][0] == NO_ROW).all()


@pytest.mark.parametrize("scorer", list(SCORERS))
def test_nothing_is_learned_from_events_on_items_without_a_row(scorer: str) -> None:
    with_them, without = OnlineLearner(small_config(scorer)), OnlineLearner(small_config(scorer))
    for learner in (with_them, without):
        run(learner, cycle(96), 32)

    with_them.step(events([1, 2, 2, 3], [NO_ROW] * 4, [10**6] * 4, weights=[1.0, -1.0, 0.0, 2.0], owns=True))

    assert digest(with_them.state()) == digest(without.state())


@pytest.mark.slow
def test_events_of_the_same_batch_that_have_a_row_are_learned_as_if_alone() -> None:
    mixed, alone = OnlineLearner(small_config()), OnlineLearner(small_config())
    for learner in (mixed, alone):
        run(learner, cycle(96), 32)

    report = mixed.step(events([1, 1, 2, 1], [NO_ROW, 3, NO_ROW, 4], [10**6] * 4))
    expected = alone.step(events([1, 1], [3, 4], [10**6] * 2))

    assert digest(mixed.state()) == digest(alone.state())
    assert report.evaluated.tolist() == [0, 1, 2, 3]
    assert np.array_equal(report.ranks["model"][[1, 3]], expected.ranks["model"])


def test_a_user_who_only_ever_took_items_without_a_row_gets_the_list_of_one_without_history() -> None:
    learner = OnlineLearner(small_config())
    run(learner, cycle(96), 32)

    learner.step(events([700], [NO_ROW]))

    assert np.array_equal(learner.rank(np.array([700]), 5).item_rows, learner.rank(np.array([701]), 5).item_rows)
    assert learner.newest_times_ms(np.array([700])).tolist() == [0]
