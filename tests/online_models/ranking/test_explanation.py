"""An explained list is the list that `rank` gives, and its contributions add up to its probabilities."""

import numpy as np
import pytest
import torch

from online_models import NO_ROW, RERANKER, SCORERS, OnlineLearner, TopK, flatten
from online_models.ranking.explanation import explain
from online_models.users.history import Context
from tests.support.mixtures import mixture_of
from tests.support.streams import cycle, run, small_config


def no_history() -> Context:
    return Context(
        user_rows=np.array([0]),
        item_rows=np.full((1, 2), NO_ROW),
        event_types=np.zeros((1, 2), np.int8),
        times_ms=np.zeros((1, 2), np.int64),
    )


def top_of(rows: list[int], scores: list[float]) -> TopK:
    return TopK(
        user_rows=np.array([0]),
        item_rows=np.array([rows]),
        scores=np.array([scores], np.float32),
        reasons=np.full((1, len(rows)), NO_ROW),
    )


def test_a_contribution_is_the_weight_times_how_far_the_score_is_above_the_mean_of_what_may_be_listed() -> None:
    scores = {"a": torch.tensor([[1.0, 2.0, 6.0, 90.0]]), "b": torch.tensor([[0.0, 3.0, 0.0, -90.0]])}
    mixture = mixture_of(2.0 * scores["a"] + 0.5 * scores["b"], torch.tensor([[False, False, False, True]]))

    found = explain(
        top_of([2, 1, NO_ROW], [0.9, 0.1, 0.0]),
        no_history(),
        scores,
        torch.tensor([[2.0, 0.5]]),
        mixture,
        is_reranked=False,
    )

    # The means are 3 and 1: the last item may not be listed.
    assert found.columns == ("a", "b")
    assert found.contributions.tolist() == [[6.0, -0.5], [-2.0, 1.0], [0.0, 0.0]]


def test_the_reranker_contributes_what_it_moved_the_log_probability_by() -> None:
    scores = {"a": torch.log(torch.tensor([[0.5, 0.25, 0.25]]))}
    mixture = mixture_of(scores["a"].clone(), torch.zeros((1, 3), dtype=torch.bool))

    found = explain(top_of([1, 0], [0.5, 0.25]), no_history(), scores, torch.tensor([[1.0]]), mixture, is_reranked=True)

    assert found.columns == ("a", RERANKER)
    assert found.contributions[:, 1] == pytest.approx([np.log(2.0), -np.log(2.0)], abs=1e-6)


def test_a_probability_of_nothing_leaves_the_contributions_finite() -> None:
    scores = {"a": torch.tensor([[200.0, 0.0]])}
    mixture = mixture_of(scores["a"].clone(), torch.zeros((1, 2), dtype=torch.bool))

    found = explain(top_of([0, 1], [1.0, 0.0]), no_history(), scores, torch.tensor([[1.0]]), mixture, is_reranked=True)

    assert np.isfinite(found.contributions).all()


@pytest.mark.slow
@pytest.mark.parametrize("scorer", SCORERS)
def test_the_explained_list_is_the_ranked_one_and_its_sums_are_the_log_odds_between_places(scorer: str) -> None:
    learner = OnlineLearner(small_config(scorer))
    run(learner, cycle(400), 40)

    found = learner.explain(3, 5)
    ranked = learner.rank(np.array([3]), 5)

    assert found.top.item_rows.tolist() == ranked.item_rows.tolist()
    assert found.top.scores.tolist() == ranked.scores.tolist()
    assert found.top.reasons.tolist() == ranked.reasons.tolist()
    assert found.contributions.shape == (5, len(found.columns))
    sums = found.contributions.astype(np.float64).sum(1)
    assert sums - sums[0] == pytest.approx(np.log(ranked.scores[0]) - np.log(ranked.scores[0, 0]), abs=1e-3)
    assert found.history.item_rows[0, : len(learner.history(3))].tolist() == learner.history(3).tolist()


def test_explaining_changes_nothing() -> None:
    learner = OnlineLearner(small_config())
    run(learner, cycle(200), 40)
    before = flatten(learner.state())

    learner.explain(3, 5)
    learner.explain(10_000, 5)

    after = flatten(learner.state())
    assert before.keys() == after.keys()
    assert all(np.array_equal(value, after[name]) for name, value in before.items())


def test_an_empty_catalogue_is_explained_by_nothing() -> None:
    found = OnlineLearner(small_config()).explain(0, 3)

    assert found.top.item_rows.tolist() == [[NO_ROW] * 3]
    assert not found.contributions.any()
