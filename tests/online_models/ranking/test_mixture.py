"""The mixture of shared rows, cells and tables is the weighted sum of the tables that they stand for."""

import numpy as np
import pytest
import torch
from torch import Tensor

from online_models.evaluation.prequential import mid_ranks
from online_models.ranking import alone
from online_models.ranking.alone import rank_alone
from online_models.ranking.mixture import BLOCK_ITEMS, Listable, mix
from online_models.retrieval.exact import exact_topk
from online_models.scores import Cells, Scores, constant
from tests.support.mixtures import dense, mixture_of

NUM_QUERIES = 6
SIZES = (1, 30, 65, 2 * BLOCK_ITEMS + 33)


def channels_of(num_items: int, seed: int = 0) -> list[Scores]:
    """Return one channel of each kind."""
    rng = np.random.default_rng(seed)

    def cells() -> Cells:
        num = 1 + num_items // 3
        keys = torch.from_numpy(np.sort(rng.choice(NUM_QUERIES * num_items, num, replace=False)))
        return Cells(keys, torch.from_numpy(rng.integers(-3, 4, num).astype(np.float32)), num_items)

    def row() -> Tensor:
        return torch.from_numpy(rng.integers(-3, 4, num_items).astype(np.float32))

    table = torch.from_numpy(rng.normal(size=(NUM_QUERIES, num_items)).astype(np.float32))
    none = constant(-2.0, num_items, torch.device("cpu"))
    return [dense(table), *(Scores(NUM_QUERIES, *of) for of in ((row(),), (none, cells()), (row(), cells())))]


def listable_of(num_items: int, seed: int = 0) -> Listable:
    rng = np.random.default_rng(seed)
    owned = np.sort(rng.choice(NUM_QUERIES * num_items, num_items // 4, replace=False))
    known = torch.from_numpy(rng.random(num_items) < 0.8)
    known[0] = True
    return Listable(known, torch.from_numpy(owned))


def masked(scores: Scores, listable: Listable) -> Tensor:
    table = scores.table().masked_fill(~listable.known, -torch.inf)
    table.view(-1)[listable.owned] = -torch.inf
    return table


def targets_of(table: Tensor) -> Tensor:
    """Return an item for each query, one of which may not be listed where there is one."""
    targets = torch.from_numpy(np.random.default_rng(9).integers(0, table.shape[1], len(table)))
    targets[0] = table[0].argmin()
    targets[1] = table[1].argmax()
    return targets


@pytest.mark.parametrize("num_items", SIZES)
def test_scores_totals_ranks_and_means_are_those_of_the_tables(num_items: int) -> None:
    channels, listable = channels_of(num_items), listable_of(num_items)
    weights = torch.randn((NUM_QUERIES, len(channels)), generator=torch.Generator().manual_seed(0))
    tables = torch.stack([channel.table() for channel in channels], 2)
    expected = masked(dense((tables * weights[:, None, :]).sum(2)), listable)
    targets = targets_of(expected)

    found = mix(channels, weights, listable, targets)

    shares = torch.softmax(expected.double(), 1).nan_to_num(nan=0.0)
    assert torch.allclose(found.scores, expected, atol=1e-5)
    assert torch.allclose(found.log_total, torch.logsumexp(expected, 1), atol=1e-5)
    assert found.means is not None
    assert found.ranks is not None
    assert torch.allclose(found.means, (shares[:, :, None] * tables).sum(1).float(), atol=1e-5)
    assert torch.equal(found.ranks, mid_ranks(found.scores, targets))
    assert mix(channels, weights, listable).means is None


@pytest.mark.parametrize("num_items", SIZES)
@pytest.mark.parametrize("k", [1, 4, 40])
@pytest.mark.parametrize("kind", range(4))
def test_a_scorer_alone_ranks_as_its_table_does(
    kind: int, k: int, num_items: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alone, "_FEW_ITEMS", 0)
    scores = channels_of(num_items, seed=k)[kind]
    listable = listable_of(num_items, seed=k)
    table = masked(scores, listable)
    targets = targets_of(table)

    ranks, rows = rank_alone(scores, listable, targets, k)

    assert torch.equal(ranks, mid_ranks(table, targets))
    assert torch.equal(rows, exact_topk(table, k)[0])


@pytest.mark.parametrize("few_items", [0, 100])
@pytest.mark.parametrize("kind", range(4))
def test_where_nothing_may_be_listed_there_is_no_rank_no_list_and_no_mean(
    kind: int, few_items: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alone, "_FEW_ITEMS", few_items)
    scores, listable = (
        channels_of(30)[kind],
        Listable(torch.zeros(30, dtype=torch.bool), torch.empty(0, dtype=torch.int64)),
    )
    targets = torch.zeros(NUM_QUERIES, dtype=torch.int64)

    ranks, rows = rank_alone(scores, listable, targets, 3)
    found = mix([scores], torch.ones(NUM_QUERIES, 1), listable, targets)

    assert torch.isinf(ranks).all()
    assert (rows == -1).all()
    assert (found.log_total == -torch.inf).all()
    assert found.means is not None
    assert (found.means == 0).all()


def test_what_a_query_is_answered_does_not_depend_on_how_many_are_asked_together() -> None:
    num_items = BLOCK_ITEMS + 100
    channels, listable = channels_of(num_items), listable_of(num_items)
    weights = torch.randn((NUM_QUERIES, len(channels)), generator=torch.Generator().manual_seed(0))
    whole = mix(channels, weights, listable, torch.arange(NUM_QUERIES))

    for queries in ([0], [4], [1, 3], [0, 2, 5]):
        chosen = torch.tensor(queries)
        places = torch.div(listable.owned, num_items, rounding_mode="floor")
        owned = [listable.owned[places == query] % num_items + at * num_items for at, query in enumerate(queries)]
        some = [channel.take(chosen) for channel in channels]
        part = mix(some, weights[chosen], Listable(listable.known, torch.cat(owned)), chosen)

        assert torch.equal(part.scores, whole.scores[chosen])
        assert torch.equal(part.log_total, whole.log_total[chosen])
        assert whole.means is not None
        assert part.means is not None
        assert torch.equal(part.means, whole.means[chosen])


def test_a_channel_that_scores_all_alike_has_that_mean_also_over_many_items() -> None:
    # One sure item and a long tail: as single precision adds up, shares below 6e-8 are lost beside it.
    table = torch.randn(64, 20_000, generator=torch.Generator().manual_seed(0))
    table[:, 7] = 19.0
    alike = torch.full((20_000,), -4.6)
    weights = torch.ones(64, 4)
    weights[:, 1:] = 0.0
    channels = [dense(table), dense(alike.repeat(64, 1)), Scores(64, alike), Scores(64, alike[:1].expand(20_000))]
    nothing = torch.empty(0, dtype=torch.int64)

    mixture = mix(channels, weights, Listable(torch.ones(20_000, dtype=torch.bool), nothing), nothing.new_zeros(64))

    assert mixture.means is not None
    means = mixture.means[:, 1:]
    assert (means + 4.6).abs().max() < 5e-6
    assert (means + 4.6).mean(0).abs().max() < 1e-6
    assert (means[:, 2] == alike[0]).all()


def test_where_nothing_may_be_listed_probabilities_are_zero() -> None:
    mixture = mixture_of(torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool))

    assert mixture.probabilities(mixture.scores).tolist() == [[0.0, 0.0]]
