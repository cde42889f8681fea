"""What a query finds in the history: nothing at first, then what it is taught, and never what is not there."""

import numpy as np
import pytest
import torch
from torch import nn

from online_models import NO_ROW
from online_models.scorers.sequence.attention import HistoryAttention
from online_models.scorers.sequence.packed_histories import (
    NUM_GAP_BUCKETS,
    lookback_of_context,
    lookback_of_windows,
    stack_lookbacks,
)
from online_models.scorers.sequence.replay_buffer import Windows
from online_models.users.history import Context


def attention(length: int = 4) -> HistoryAttention:
    return HistoryAttention(8, length, 2, torch.Generator().manual_seed(0))


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def taught(length: int = 4) -> HistoryAttention:
    """Return attention whose every weight says something."""
    found, generator = attention(length), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.normal_(0.0, 1.0, generator=generator)
    return found


def test_it_begins_as_the_query_alone() -> None:
    queries, items = nn.functional.layer_norm(normal(3, 8), (8,)), normal(3, 4, 8)

    found = attention()(queries, items, torch.ones(3, 4, dtype=torch.bool), torch.zeros(3, 4, dtype=torch.int64))

    assert torch.allclose(found, queries, atol=1e-4)


def test_places_without_an_item_say_nothing_and_a_history_without_any_is_none() -> None:
    queries, items, ages = normal(2, 8), normal(2, 4, 8), torch.tensor([[1, 5, 9, 0], [0, NUM_GAP_BUCKETS - 1, 3, 3]])
    is_there = torch.tensor([[True, True, False, False], [False] * 4])
    others = torch.where(is_there[:, :, None], items, 100.0)

    one, other = (taught()(queries, held, is_there, ages) for held in (items, others))
    shorter = taught()(queries[:1], items[:1, :2], is_there[:1, :2], ages[:1, :2])

    assert torch.equal(one, other)
    assert torch.allclose(one[:1], shorter, atol=1e-5)
    assert torch.isfinite(one).all()


@pytest.mark.slow
def test_it_learns_to_look_at_the_item_of_one_place_or_of_one_age() -> None:
    generator = torch.Generator().manual_seed(0)
    for by_age in (False, True):
        model, queries = attention(), normal(1, 8).expand(64, 8)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(200):
            items = torch.randn(64, 4, 8, generator=generator)
            places = torch.randint(0, 4, (64,), generator=generator)
            ages = torch.zeros(64, 4, dtype=torch.int64)
            ages[torch.arange(64), places] = 7
            wanted = items[torch.arange(64), places] if by_age else items[:, 2]
            answers = model(queries, items, torch.ones(64, 4, dtype=torch.bool), ages)
            loss = -nn.functional.cosine_similarity(answers, wanted).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        assert loss < -0.85, f"by_age={by_age}: {loss}"


def test_ages_are_counted_from_the_newest_event_and_windows_end_before_their_column() -> None:
    context = Context(
        user_rows=np.array([0, 1]),
        item_rows=np.array([[3, 2, 1], [NO_ROW] * 3]),
        event_types=np.zeros((2, 3), np.int8),
        times_ms=np.array([[1000, 999, 0], [0, 0, 0]]),
    )
    windows = Windows(
        item_rows=np.array([[1, 2, 3, NO_ROW]]),
        event_types=np.zeros((1, 4), np.int8),
        times_ms=np.array([[0, 999, 1000, 0]]),
        weights=np.ones((1, 4), np.float32),
    )

    of_context = lookback_of_context(context, 2)
    of_windows = lookback_of_windows(windows, np.array([0, 0]), np.array([1, 3]), 3)
    stacked = stack_lookbacks(of_context, of_windows)

    assert of_context.item_rows.tolist() == [[3, 2], [NO_ROW, NO_ROW]]
    assert of_context.ages.tolist() == [[1, 2], [0, 0]]  # 1 + floor(log2(1 ms + 1)) is 2
    assert of_windows.item_rows.tolist() == [[1, NO_ROW, NO_ROW], [3, 2, 1]]
    assert of_windows.ages.tolist() == [[1, 0, 0], [1, 2, 10]]
    assert stacked.item_rows.tolist() == [[3, 2, NO_ROW], [NO_ROW] * 3, [1, NO_ROW, NO_ROW], [3, 2, 1]]
