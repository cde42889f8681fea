"""Metrics of one relevant item, worked by hand."""

import numpy as np

from online_models import hit_rate, ndcg, reciprocal_rank

RANKS = np.array([1.0, 3.0, 7.0, 10.0, 10.5, np.inf])


def test_a_hit_is_a_rank_within_k() -> None:
    assert hit_rate(RANKS, 10).tolist() == [1, 1, 1, 1, 0, 0]


def test_gain_is_discounted_by_the_logarithm_of_the_rank() -> None:
    assert ndcg(RANKS, 7).tolist() == [1.0, 0.5, 1 / 3, 0.0, 0.0, 0.0]


def test_the_reciprocal_rank_is_cut_at_k() -> None:
    assert reciprocal_rank(RANKS, 7).tolist() == [1.0, 1 / 3, 1 / 7, 0.0, 0.0, 0.0]
