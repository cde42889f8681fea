"""Matrix factorisation: who was never seen is like everyone who was never seen, and what is reset is as new."""

import numpy as np
import pytest
import torch

from online_models.scorers.matrix_factorization import MatrixFactorization
from online_models.scores import Candidates
from online_models.users.history import Histories
from tests.support.streams import NONE, cycle, small_config

NUM_ITEMS = 24
FAR_ROW = 10**6


@pytest.fixture
def taught() -> tuple[MatrixFactorization, Histories]:
    scorer, histories = MatrixFactorization(small_config("mf"), torch.device("cpu")), Histories(8)
    scorer.grow(8, NUM_ITEMS)
    stream = cycle(160, num_users=8, num_items=NUM_ITEMS)
    for start in range(0, 160, 16):
        step = histories.plan(stream.part(start, start + 16))
        scorer.learn(step, torch.ones(NUM_ITEMS, dtype=torch.bool))
        histories.write(step.after)
    return scorer, histories


def test_users_never_seen_or_reset_have_the_same_scores(taught: tuple[MatrixFactorization, Histories]) -> None:
    scorer, histories = taught
    scorer.reset(np.array([3]), NONE)
    histories.reset(np.array([3]), NONE)

    scores = scorer.score(histories.context(np.array([3, 500, 501, FAR_ROW, 0])), Candidates.all(NUM_ITEMS)).table()

    assert torch.equal(scores[0], scorer.items[:NUM_ITEMS, -1])  # the biases alone
    assert all(torch.equal(scores[0], others) for others in scores[1:4])
    assert not torch.equal(scores[0], scores[4])


def test_a_reset_row_is_as_new_and_forgets_how_far_it_was_moved(taught: tuple[MatrixFactorization, Histories]) -> None:
    scorer, _ = taught
    new = MatrixFactorization(small_config("mf"), torch.device("cpu"))
    new.grow(8, NUM_ITEMS)
    assert bool((scorer.item_squares[5] > 0) & (scorer.user_squares[2] > 0))

    scorer.reset(np.array([2]), np.array([5]))

    assert (scorer.item_squares[5].item(), scorer.user_squares[2].item()) == (0.0, 0.0)
    assert torch.equal(scorer.items[5], new.items[5])
    assert torch.equal(scorer.users[2], new.users[2])
    assert bool((scorer.item_squares[6] > 0) & (scorer.user_squares[3] > 0))


def test_item_rows_begin_the_same_however_the_table_grew() -> None:
    at_once, in_steps = (MatrixFactorization(small_config("mf"), torch.device("cpu")) for _ in range(2))
    at_once.grow(9000, 9000)
    for size in (1500, 3000, 9000):
        in_steps.grow(size, size)

    assert torch.equal(at_once.items[:9000], in_steps.items[:9000])
    assert torch.equal(at_once.users[:9000], in_steps.users[:9000])
