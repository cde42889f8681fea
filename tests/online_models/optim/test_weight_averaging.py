"""The means of the weights: over how many steps, of which rows, and that they are what scores."""

import numpy as np
import pytest
import torch

from online_models import OnlineLearner, SequenceConfig
from online_models.optim.weight_averaging import follow_rows, newest_shares
from online_models.ranking.reranker import Reranker
from online_models.scorers.sequence.scorer import SequenceScorer
from online_models.scores import Candidates
from tests.support.streams import cycle, run, small_config


def sequence_of(learner: OnlineLearner) -> SequenceScorer:
    scorer = learner._scorers["sequence"]
    assert isinstance(scorer, SequenceScorer)
    return scorer


def learned(**settings: object) -> OnlineLearner:
    config = SequenceConfig(width=8, state_width=8, replay_windows=0, **settings)  # type: ignore[arg-type]
    learner = OnlineLearner(small_config(sequence=config))
    run(learner, cycle(600), 64)
    return learner


def test_a_mean_is_over_a_tenth_of_the_steps_until_that_is_its_longest() -> None:
    num_steps = torch.tensor([1.0, 5.0, 10.0, 20.0, 100.0, 2000.0, 90_000.0])

    assert torch.allclose(newest_shares(num_steps, 200), torch.tensor([1.0, 1.0, 1.0, 0.5, 0.1, 0.005, 0.005]))


def test_only_rows_that_took_part_move_towards_the_table() -> None:
    means, table = torch.zeros(4, 2), torch.ones(4, 2)

    follow_rows(means, table, torch.tensor([0.25, 1.0]), torch.tensor([3, 1]))
    assert means.tolist() == [[0, 0], [1, 1], [0, 0], [0.25, 0.25]]

    bias = torch.zeros(4)
    follow_rows(bias, torch.ones(4), torch.tensor([0.5, 0.25]), None)
    assert bias.tolist() == [0.5, 0.25, 0, 0]


@pytest.mark.slow
def test_a_mean_of_one_step_is_the_newest_weights() -> None:
    weights = sequence_of(learned(mean_steps=1)).weights

    assert torch.equal(weights.mean_items, weights.items)
    assert torch.equal(weights.mean_bias, weights.bias)
    for mean, newest in zip(weights.mean_network.parameters(), weights.network.parameters(), strict=True):
        assert torch.equal(mean, newest)


@pytest.mark.slow
def test_scores_come_from_the_means_alone() -> None:
    learner = learned(mean_steps=50)
    scorer = sequence_of(learner)
    context = learner._histories.context(np.arange(4))
    before = scorer.score(context, Candidates.all(24)).table()
    assert not torch.equal(scorer.weights.items, scorer.weights.mean_items)

    scorer.weights.items.fill_(7.0)
    assert torch.equal(scorer.score(context, Candidates.all(24)).table(), before)

    scorer.weights.mean_items.fill_(7.0)
    assert not torch.equal(scorer.score(context, Candidates.all(24)).table(), before)


@pytest.mark.slow
def test_an_item_that_takes_over_a_row_begins_its_mean_anew() -> None:
    learner = learned(mean_steps=50)
    weights = sequence_of(learner).weights
    assert weights.num_steps[5] > 1

    learner._reset(np.empty(0, np.int64), np.array([5]))

    assert weights.num_steps[5] == 0
    assert torch.equal(weights.mean_items[5], weights.items[5])
    assert weights.mean_bias[5] == 0


@pytest.mark.slow
def test_items_that_take_no_part_in_a_step_keep_their_mean() -> None:
    learner = learned(max_full_softmax_items=2, num_negatives=2)
    weights = sequence_of(learner).weights

    assert len(weights.num_steps[:24].unique()) > 1


@pytest.mark.slow
def test_the_reranker_orders_by_its_means() -> None:
    learner = learned()
    reranker = learner._ranker._reranker
    assert isinstance(reranker, Reranker)
    assert not torch.equal(reranker.weights["first"], reranker.means["first"])
    users = np.arange(8)
    before = learner.rank(users, 5).item_rows

    reranker.weights["last"].fill_(1e6)
    assert np.array_equal(learner.rank(users, 5).item_rows, before)

    reranker.means["last"].copy_(torch.linspace(-1e6, 1e6, len(reranker.means["last"]))[:, None])
    assert not np.array_equal(learner.rank(users, 5).item_rows, before)


def test_a_step_of_few_events_is_shorter_by_the_square_root_of_their_share() -> None:
    moved = {}
    for num_events in (4, 16):
        learner = OnlineLearner(small_config(sub_step_events=16, sequence=SequenceConfig(width=8, state_width=8)))
        weights = sequence_of(learner).weights
        before = weights.network.norm.weight.detach().clone()
        run(learner, cycle(num_events), num_events)
        run(learner, cycle(num_events), num_events)  # the first step knows of no item but those it learns
        moved[num_events] = (weights.network.norm.weight.detach() - before).abs().max().item()

    # The first steps of Adam are as long as its learning rate, whatever the gradient.
    assert abs(moved[4] / moved[16] - 0.5) < 0.05
