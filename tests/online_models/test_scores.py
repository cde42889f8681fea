"""Cells and shared rows say what the table says that they stand for."""

import numpy as np
import pytest
import torch

from online_models.scores import Candidates, Cells, Scores, constant

NUM_QUERIES, NUM_ITEMS = 5, 30


def random_cells(seed: int, num_places: int = 60) -> tuple[Cells, torch.Tensor]:
    """Return the sums of numbers at random places, and the same as a table."""
    rng = np.random.default_rng(seed)
    queries = torch.from_numpy(rng.integers(0, NUM_QUERIES, num_places))
    items = torch.from_numpy(rng.integers(0, NUM_ITEMS, num_places))
    values = torch.from_numpy(rng.normal(size=num_places).astype(np.float32))
    table = torch.zeros(NUM_QUERIES, NUM_ITEMS).index_put_((queries, items), values, accumulate=True)
    return Cells.summed(queries, items, values, NUM_ITEMS), table


@pytest.mark.parametrize("num_places", [0, 1, 60, 1000])
def test_summed_cells_are_different_in_order_and_hold_the_sum_of_each_place(num_places: int) -> None:
    cells, table = random_cells(0, num_places)

    assert (cells.keys.diff() > 0).all()
    assert torch.allclose(table[cells.queries, cells.items], cells.values, atol=1e-5)
    table[cells.queries, cells.items] = 0.0
    assert table.abs().sum() == 0


def test_the_sum_of_a_place_does_not_depend_on_what_else_is_summed() -> None:
    rng = np.random.default_rng(1)
    values = torch.from_numpy(rng.normal(size=200).astype(np.float32))
    places = torch.from_numpy(rng.integers(0, 4, 200))
    alone = Cells.summed(torch.zeros(200, dtype=torch.int64), places, values, NUM_ITEMS)
    among = Cells.summed(
        torch.cat([torch.ones(50, dtype=torch.int64), torch.zeros(200, dtype=torch.int64)]),
        torch.cat([torch.arange(50) % NUM_ITEMS, places]),
        torch.cat([torch.ones(50), values]),
        NUM_ITEMS,
    )

    assert torch.equal(among.values[: len(alone.values)], alone.values)


def test_cells_of_different_places_come_in_order() -> None:
    cells = Cells.of(torch.tensor([1, 0]), torch.tensor([2, 3]), torch.tensor([12.0, 3.0]), 10)

    assert cells.keys.tolist() == [3, 12]
    assert cells.values.tolist() == [3.0, 12.0]
    assert cells.mapped(lambda items, values: values + items).values.tolist() == [6.0, 14.0]


@pytest.mark.parametrize("is_constant", [False, True])
def test_scores_at_items_of_some_queries_and_as_a_table_agree(is_constant: bool) -> None:
    cells, _ = random_cells(2)
    row = torch.randn(NUM_ITEMS, generator=torch.Generator().manual_seed(0))
    shared = constant(-4.6, NUM_ITEMS, torch.device("cpu")) if is_constant else row
    scores = Scores(NUM_QUERIES, shared, cells)
    expected = shared.repeat(NUM_QUERIES, 1)
    expected[cells.queries, cells.items] = cells.values
    items = torch.from_numpy(np.random.default_rng(3).integers(0, NUM_ITEMS, (NUM_QUERIES, 7)))

    for found in (scores, Scores(NUM_QUERIES, dense=expected)):
        assert torch.equal(found.table(), expected)
        assert torch.equal(found.at(items), expected.gather(1, items))
        assert torch.equal(found.take(torch.tensor([1, 4])).table(), expected[[1, 4]])
        assert found.take(torch.tensor([1, 4])).num_queries == 2
        assert found.num_items == NUM_ITEMS
    assert scores.is_constant is is_constant


def test_a_row_for_everybody_without_cells_is_that_row_for_each() -> None:
    row = torch.arange(4.0)
    scores = Scores(3, row)

    assert torch.equal(scores.table(), row.repeat(3, 1))
    assert scores.at(torch.tensor([[3], [0], [1]])).tolist() == [[3.0], [0.0], [1.0]]


def test_cells_are_given_up_where_they_could_fill_half_of_the_table() -> None:
    assert Candidates.all(1000).is_table_cheaper(500)
    assert not Candidates.all(1001).is_table_cheaper(500)
