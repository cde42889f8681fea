"""The exact top-k against a plain sort."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from online_models import NO_ROW, exact_topk

scores_of_lists = st.integers(1, 12).flatmap(
    lambda num_items: st.lists(
        st.lists(
            st.sampled_from([0.0, -0.0, 1.5, -2.0, 3.0, float("inf"), float("-inf"), float("nan"), 1e-40]),
            min_size=num_items,
            max_size=num_items,
        ),
        min_size=1,
        max_size=4,
    )
)


@given(scores_of_lists, st.integers(1, 15))
def test_topk_is_a_stable_sort_of_what_is_a_number(lists: list[list[float]], k: int) -> None:
    rows, best = exact_topk(torch.tensor(lists), k)

    for scores, found, values in zip(np.array(lists, np.float32), rows.tolist(), best.tolist(), strict=True):
        candidates = [row for row in range(len(scores)) if scores[row] > -np.inf]
        expected = sorted(candidates, key=lambda row, scores=scores: (-scores[row], row))[:k]
        assert found == expected + [NO_ROW] * (k - len(expected))
        assert values == [scores[row] for row in expected] + [float("-inf")] * (k - len(expected))


def test_equal_scores_are_listed_by_row() -> None:
    rows, _ = exact_topk(torch.zeros(1, 1000), 3)

    assert rows.tolist() == [[0, 1, 2]]


@pytest.mark.slow
def test_a_large_catalogue_is_ranked_in_blocks_like_a_small_one() -> None:
    scores = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 1_500_000)).astype(np.float32))

    rows, best = exact_topk(scores, 4)

    assert torch.equal(best, scores.sort(dim=1, descending=True).values[:, :4])
    assert torch.equal(scores.gather(1, rows), best)


@pytest.mark.parametrize("num_values", [1, 3, 1000, 10**9])
@pytest.mark.parametrize("num_items", [639, 640, 641, 5000])
@pytest.mark.parametrize("k", [1, 10])
@pytest.mark.parametrize("has_nan", [False, True])
def test_a_list_from_the_best_groups_is_that_of_the_whole_catalogue(
    num_values: int, num_items: int, k: int, has_nan: bool
) -> None:
    rng = np.random.default_rng(num_items)
    scores = rng.integers(0, num_values, (6, num_items)).astype(np.float32)
    scores[:3][rng.random((3, num_items)) < 0.5] = -np.inf
    scores[2, 17:] = -np.inf
    if has_nan:  # then groups are not asked
        scores[4, 600] = np.nan

    rows, best = exact_topk(torch.from_numpy(scores), k)

    clean = np.where(np.isnan(scores), -np.inf, scores)
    expected = np.argsort(-clean, axis=1, kind="stable")[:, :k]
    values = np.take_along_axis(clean, expected, 1)
    assert np.array_equal(rows.numpy(), np.where(values == -np.inf, NO_ROW, expected))
    assert np.array_equal(best.numpy(), values)


def test_an_empty_catalogue_gives_empty_lists() -> None:
    rows, best = exact_topk(torch.empty(2, 0), 2)

    assert rows.tolist() == [[NO_ROW] * 2] * 2
    assert bool(torch.isneginf(best).all())
