"""The user's own history as a scorer, worked by hand."""

import math

import numpy as np
import pytest
import torch

from online_models import OnlineLearner, RecencyConfig
from online_models.scorers.recency import Recency
from online_models.scores import Candidates
from online_models.users.history import Histories
from tests.support.streams import events, small_config


def test_items_count_by_how_recent_and_how_often_they_are_in_the_history() -> None:
    scorer, histories = Recency(RecencyConfig(position_decay=0.5), 4, torch.device("cpu")), Histories(4)
    histories.write(histories.plan(events([0, 0, 0, 1], [2, 1, 2, 3])).after)

    scores = scorer.score(histories.context(np.array([0, 9])), Candidates.all(4)).table().exp() - 0.01

    # Newest first the history is 2, 1, 2: worth 1, 1/2 and 1/4.
    assert scores[0].tolist() == pytest.approx([0.0, 0.5, 1.25, 0.0], abs=1e-6)
    assert scores[1].tolist() == pytest.approx([0.0] * 4, abs=1e-6)
    assert scores[0, 2].log().item() < math.log(1.26)


@pytest.mark.slow
def test_where_people_come_back_the_default_learns_to_list_what_they_had() -> None:
    learner = OnlineLearner(small_config())
    rng = np.random.default_rng(0)
    for start in range(60):
        users = rng.integers(0, 30, 16)
        learner.step(events(users.tolist(), users.tolist(), [start] * 16))  # everyone has one item and keeps to it

    assert learner.rank(np.arange(30), 1).item_rows[:, 0].tolist() == list(range(30))
