"""The second order of the best: it begins as the mixture, keeps its share, and learns what no sum of channels says."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from online_models import NO_ROW, RerankerConfig, StateError, digest, flatten, unflatten
from online_models.ranking.mixture import Mixture
from online_models.ranking.reranker import Reranked, Reranker
from online_models.retrieval.exact import exact_topk
from online_models.users.history import Context
from tests.support.mixtures import dense, mixture_of

NUM_ITEMS, NUM_CHANNELS, NUM_SITUATIONS, LENGTH = 12, 2, 6, 6
INF = float("inf")


def make(num_best: int = 5, width: int = 8, learning_rate: float = 0.01, seed: int = 0) -> Reranker:
    config = RerankerConfig(num_best=num_best, width=width, learning_rate=learning_rate)
    reranker = Reranker(config, NUM_CHANNELS, NUM_SITUATIONS, seed, torch.device("cpu"))
    reranker.grow(0, NUM_ITEMS)
    return reranker


def histories(items: list[list[int]], times_ms: list[list[int]] | None = None) -> Context:
    """Return questions with these histories, newest first; by default no two events share a time."""
    times_ms = times_ms if times_ms is not None else [[-place for place in range(len(row))] for row in items]
    return Context(
        user_rows=np.arange(len(items)),
        item_rows=np.array([row + [NO_ROW] * (LENGTH - len(row)) for row in items], np.int64).reshape(-1, LENGTH),
        event_types=np.zeros((len(items), LENGTH), np.int8),
        times_ms=np.array([row + [0] * (LENGTH - len(row)) for row in times_ms], np.int64).reshape(-1, LENGTH),
    )


class Asked:
    """E questions with random scores, situations and histories; the mixture is the mean of the channels."""

    def __init__(self, num_questions: int, seed: int = 0, blocked: list[int] | None = None) -> None:
        rng = np.random.default_rng(seed)
        self.channels = [
            torch.from_numpy(rng.normal(size=(num_questions, NUM_ITEMS)).astype(np.float32))
            for _ in range(NUM_CHANNELS)
        ]
        self.blocked = torch.zeros((num_questions, NUM_ITEMS), dtype=torch.bool)
        self.blocked[:, blocked or []] = True
        self.situations = torch.from_numpy(rng.integers(0, NUM_SITUATIONS, (num_questions, 3)))
        held = [rng.integers(0, NUM_ITEMS, rng.integers(0, LENGTH + 1)).tolist() for _ in range(num_questions)]
        self.context = histories(held, [np.sort(rng.integers(-3, 1, len(row)))[::-1].tolist() for row in held])

    def mixture(self) -> Mixture:
        return mixture_of(torch.stack(self.channels).mean(0), self.blocked)

    def by(self, reranker: Reranker, at_least: int = 1) -> Reranked:
        return reranker.rerank(
            [dense(table) for table in self.channels], self.mixture(), self.situations, self.context, at_least
        )


def taught(reranker: Reranker, num_steps: int = 20) -> Reranker:
    """Return it after steps on random questions, each with a random candidate as its target."""
    for seed in range(num_steps):
        reranked = Asked(8, 100 + seed).by(reranker)
        targets = reranked.candidates[:, seed % reranked.candidates.shape[1]]
        assert reranker.learn(reranked, targets)
        reranker.see(targets)
    return reranker


def made(rows: list[list[int]], shares: list[list[float]]) -> Reranked:
    """Return an answer of these rows and log shares, as far as ranks and losses need one."""
    nothing = torch.zeros(0)
    return Reranked(
        rows=torch.tensor(rows),
        log_shares=torch.tensor(shares),
        candidates=nothing,
        features=nothing,
        mixed=nothing,
        situations=nothing,
    )


def test_before_it_learned_anything_order_and_probabilities_are_those_of_the_mixture() -> None:
    asked = Asked(6)

    reranked = asked.by(make())

    rows, best = exact_topk(asked.mixture().scores, 5)
    assert torch.equal(reranked.rows, rows)
    assert torch.equal(reranked.candidates, rows)
    assert torch.allclose(torch.exp(reranked.log_shares), asked.mixture().probabilities(best), atol=1e-6)


def test_equal_scores_are_in_the_order_of_their_rows() -> None:
    asked = Asked(2)
    asked.channels = [torch.zeros(2, NUM_ITEMS)] * 2
    asked.blocked[1, 1] = True

    reranked = asked.by(make(num_best=4))

    assert reranked.rows.tolist() == [[0, 1, 2, 3], [0, 2, 3, 4]]
    assert torch.exp(reranked.log_shares).flatten().tolist() == pytest.approx([1 / 12] * 4 + [1 / 11] * 4)


def test_what_it_learned_changes_the_order_and_not_what_is_ordered_or_their_joint_probability() -> None:
    asked, reranker = Asked(20), taught(make())

    reranked = asked.by(reranker)

    rows, best = exact_topk(asked.mixture().scores, 5)
    shares = torch.exp(reranked.log_shares)
    assert not torch.equal(reranked.rows, rows)
    assert torch.equal(reranked.candidates, rows)
    assert torch.equal(reranked.rows.sort(1).values, rows.sort(1).values)
    assert torch.allclose(shares.sum(1), asked.mixture().probabilities(best).sum(1), atol=1e-6)
    assert bool((shares.diff(dim=1) <= 0).all())
    assert bool((shares.diff(dim=1) < 0).any())
    assert bool(((shares > 0) & (shares < 1)).all())


def test_where_it_sees_the_whole_catalogue_the_probabilities_sum_to_one() -> None:
    shares = torch.exp(Asked(20).by(taught(make(num_best=NUM_ITEMS))).log_shares)

    assert shares.sum(1).tolist() == pytest.approx([1.0] * 20, abs=1e-5)
    assert bool((shares <= 1.0).all())


@pytest.mark.parametrize(
    ("num_best", "at_least", "expected"), [(5, 1, 5), (5, 5, 5), (5, 6, 6), (1, 1, 1), (1, 12, 12)]
)
def test_as_many_are_ordered_as_configured_or_asked_for(num_best: int, at_least: int, expected: int) -> None:
    reranked = Asked(3).by(make(num_best), at_least)

    assert reranked.rows.shape == reranked.log_shares.shape == (3, expected)
    assert bool((reranked.rows != NO_ROW).all())


def test_a_blocked_item_is_never_a_candidate() -> None:
    reranked = Asked(20, blocked=[3, 4]).by(taught(make(num_best=NUM_ITEMS)))

    assert not bool(((reranked.rows == 3) | (reranked.rows == 4)).any())
    assert reranked.rows[:, -2:].unique().tolist() == [NO_ROW]


def test_where_there_are_fewer_items_the_rest_of_the_list_is_empty() -> None:
    reranked = Asked(4, blocked=list(range(3, NUM_ITEMS))).by(taught(make()))

    shares = torch.exp(reranked.log_shares)
    assert reranked.rows.sort(1).values.tolist() == [[NO_ROW, NO_ROW, 0, 1, 2]] * 4
    assert reranked.rows[:, 3:].tolist() == [[NO_ROW, NO_ROW]] * 4
    assert shares[:, 3:].tolist() == [[0.0, 0.0]] * 4
    assert shares.sum(1).tolist() == pytest.approx([1.0] * 4, abs=1e-5)


def test_what_is_no_candidate_has_no_say_where_the_list_is_shorter() -> None:
    reranker, one, other = taught(make()), Asked(8, blocked=[0, *range(4, NUM_ITEMS)]), Asked(8)
    other.blocked, other.channels = one.blocked, [channel.clone() for channel in one.channels]
    for channel in other.channels:
        channel[:, 0], channel[:, 5] = 9.0, 9.0

    assert torch.equal(one.by(reranker).log_shares, other.by(reranker).log_shares)


def test_where_nothing_may_be_listed_the_list_is_empty_and_nothing_is_learned() -> None:
    reranker = taught(make())
    before = digest(reranker.state())

    reranked = Asked(3, blocked=list(range(NUM_ITEMS))).by(reranker)

    assert reranked.rows.unique().tolist() == [NO_ROW]
    assert reranked.log_shares.unique().tolist() == [-INF]
    assert reranker.learn(reranked, torch.tensor([0, 5, NO_ROW]))
    assert digest(reranker.state()) == before


def test_no_question_has_no_answer_and_teaches_nothing() -> None:
    reranker, nothing = taught(make()), torch.zeros(0, dtype=torch.int64)
    before = digest(reranker.state())

    reranked = Asked(0).by(reranker)

    ranks, is_inside = reranked.ranks(nothing)
    assert reranked.rows.shape == reranked.log_shares.shape == (0, 5)
    assert ranks.shape == is_inside.shape == reranked.losses(nothing).shape == (0,)
    assert reranker.learn(reranked, nothing)
    assert digest(reranker.state()) == before


def test_a_rank_is_one_more_than_are_ahead_and_half_of_those_that_are_level() -> None:
    rows = [[4, 7, 2, 9], [4, 7, 2, 9], [4, 7, 2, 9], [4, 7, 2, 9], [4, 7, 2, NO_ROW]]
    tied = [-1.0, -2.0, -2.0, -2.0]

    ranks, is_inside = made(rows, [tied, tied, [-1.0] * 4, tied, [-1.0, -2.0, -2.0, -INF]]).ranks(
        torch.tensor([4, 9, 7, 3, 2])
    )

    # First; the second to fourth in their middle; all level; not there; level with one.
    assert ranks[[0, 1, 2, 4]].tolist() == [1.0, 3.0, 2.5, 2.5]
    assert is_inside.tolist() == [True, True, True, False, True]
    assert ranks.dtype == torch.float64


def test_ranks_are_those_of_sorting_by_hand() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        shares = np.sort(rng.integers(-4, 0, (5, 6)), axis=1)[:, ::-1].astype(np.float32)
        rows = np.stack([rng.permutation(9)[:6] for _ in range(5)])
        targets = rng.integers(0, 9, 5)
        found, is_inside = made(rows.tolist(), shares.tolist()).ranks(torch.from_numpy(targets))
        for place, target in enumerate(targets.tolist()):
            assert bool(is_inside[place]) is (target in rows[place])
            if target in rows[place]:
                own = shares[place, rows[place].tolist().index(target)]
                level = [1 + at for at in range(6) if shares[place, at] == own]
                assert found[place] == sum(level) / len(level)


def test_a_broken_model_has_no_rank_and_no_loss_that_looks_like_a_number() -> None:
    reranked = made([[4, 7]], [[float("nan"), float("nan")]])

    ranks, _ = reranked.ranks(torch.tensor([7]))

    assert ranks.tolist() == [INF]
    assert not torch.isfinite(reranked.losses(torch.tensor([7]))).any()


def test_the_loss_is_minus_the_log_of_the_share_and_infinite_outside() -> None:
    reranked = made([[4, 7], [4, 7], [4, NO_ROW]], [[math.log(0.5), math.log(0.25)]] * 2 + [[0.0, -INF]])

    losses = reranked.losses(torch.tensor([7, 3, 7])).tolist()

    assert losses == [pytest.approx(math.log(4.0)), INF, INF]


def test_a_step_makes_what_came_more_likely() -> None:
    reranker, asked = make(learning_rate=0.01), Asked(1)
    target = asked.by(reranker).candidates[:, 3]
    losses = []
    for _ in range(30):
        reranked = asked.by(reranker)
        losses.append(reranked.losses(target).item())
        reranker.learn(reranked, target)

    assert losses[0] > 1.0
    assert losses[-1] < losses[0] - 0.5


@pytest.mark.parametrize("target", [NO_ROW, 0])
def test_a_target_that_is_no_candidate_or_none_changes_nothing(target: int) -> None:
    reranker = taught(make())
    before = digest(reranker.state())
    # Three may be listed, so the rest of the five are NO_ROW, which is no target either.
    reranked = Asked(4, blocked=[0, *range(4, NUM_ITEMS)]).by(reranker)

    assert reranker.learn(reranked, torch.full((4,), target))
    assert digest(reranker.state()) == before


def test_a_question_that_is_left_out_has_no_part_in_the_step() -> None:
    with_it, without = taught(make()), taught(make())
    asked, part = Asked(2), Asked(2)
    part.channels = [channel[:1] for channel in asked.channels]
    part.blocked, part.situations = asked.blocked[:1], asked.situations[:1]
    part.context = asked.context.take(np.array([0]))
    alone = part.by(without)

    with_it.learn(asked.by(with_it), torch.stack([alone.candidates[0, 2], torch.tensor(NO_ROW)]))
    without.learn(alone, alone.candidates[:, 2])

    for name, table in without.weights.items():
        assert torch.allclose(with_it.weights[name], table, atol=1e-6), name


def test_it_learns_that_what_is_in_the_running_basket_does_not_come_again() -> None:
    """All channels are silent; what comes is of the history, but not of the events that share the newest time."""
    rng = np.random.default_rng(0)
    reranker = make(num_best=NUM_ITEMS, width=16, learning_rate=0.02)
    silent = [dense(torch.zeros(32, NUM_ITEMS))] * NUM_CHANNELS
    nowhere = torch.zeros((32, 3), dtype=torch.int64)

    def ask() -> tuple[Reranked, np.ndarray, np.ndarray]:
        items = np.stack([rng.permutation(NUM_ITEMS)[:LENGTH] for _ in range(32)])
        sizes = rng.integers(1, LENGTH, 32)
        in_basket = np.arange(LENGTH) < sizes[:, None]
        context = histories(items.tolist(), np.where(in_basket, 100, 50).tolist())
        mixture = mixture_of(torch.zeros(32, NUM_ITEMS), torch.zeros((32, NUM_ITEMS), dtype=torch.bool))
        return reranker.rerank(silent, mixture, nowhere, context, 1), items, sizes

    for _ in range(150):
        reranked, items, sizes = ask()
        targets = items[np.arange(32), rng.integers(sizes, LENGTH)]
        reranker.learn(reranked, torch.from_numpy(targets))

    reranked, items, sizes = ask()
    shares = torch.zeros(32, NUM_ITEMS).scatter_(1, reranked.rows, torch.exp(reranked.log_shares)).numpy()
    older = np.take_along_axis(shares, items, 1) * (np.arange(LENGTH) >= sizes[:, None])
    assert older.sum(axis=1).min() > 0.9
    # All that are left are as likely as each other, so the best lists cannot be surer than one in so many.
    assert np.allclose(older.max(axis=1), 1.0 / (LENGTH - sizes), atol=0.2)


def test_it_learns_which_channel_is_right_in_which_situation() -> None:
    reranker = make(num_best=NUM_ITEMS, width=16, learning_rate=0.02)
    places = torch.tensor([[0, 1, 5], [0, 2, 5]]).repeat(16, 1)
    is_first = torch.tensor([True, False]).repeat(16)
    hits = []
    for seed in range(120):
        asked = Asked(32, seed)
        asked.situations = places
        targets = torch.where(is_first, asked.channels[0].argmax(1), asked.channels[1].argmax(1))
        reranked = asked.by(reranker)
        hits.append((reranked.rows[:, 0] == targets).float().mean().item())
        reranker.learn(reranked, targets)

    # The mean of both, as good as a sum can be, is right about half of the time.
    assert np.mean(hits[:5]) < 0.6
    assert np.mean(hits[-20:]) > 0.85


def test_it_learns_to_tell_what_came_lately_from_what_came_long_ago() -> None:
    rng = np.random.default_rng(0)
    reranker = make(num_best=NUM_ITEMS, width=16, learning_rate=0.02)
    asked = Asked(8)
    asked.channels = [torch.zeros(8, NUM_ITEMS)] * NUM_CHANNELS
    newest, shares = 0, []
    for _ in range(150):
        reranked = asked.by(reranker)
        shares.append(torch.exp(-reranked.losses(torch.full((8,), newest))).mean().item())
        reranker.learn(reranked, torch.full((8,), newest))
        newest = int(rng.integers(NUM_ITEMS))
        reranker.see(torch.from_numpy(rng.integers(0, NUM_ITEMS, 20)))
        reranker.see(torch.tensor([newest]))

    assert shares[0] == pytest.approx(1 / NUM_ITEMS)
    assert np.mean(shares[-20:]) > 0.5


def test_a_step_that_is_not_finite_is_left_out_and_said_so() -> None:
    reranker, asked = taught(make()), Asked(2)
    before = digest(reranker.state())
    reranked = asked.by(reranker)
    reranked.features[0, 2, 1] = float("nan")

    assert not reranker.learn(reranked, reranked.candidates[:, 0])
    assert digest(reranker.state()) == before
    assert reranker.is_finite()
    assert reranker.learn(reranked, torch.stack([torch.tensor(NO_ROW), reranked.candidates[1, 0]]))  # without it


@pytest.mark.parametrize("name", ["first", "situations", "last"])
def test_a_weight_or_a_moment_that_is_no_number_is_found(name: str) -> None:
    reranker, other = taught(make()), taught(make())
    assert reranker.is_finite()
    reranker.weights[name].view(-1)[-1] = float("nan")
    other.adam.squares[name].view(-1)[0] = INF

    assert not reranker.is_finite()
    assert not other.is_finite()


def test_a_restored_one_orders_and_learns_on_bit_for_bit() -> None:
    saved, other = taught(make(seed=3)), make(seed=3)

    other.load(unflatten(flatten(saved.state())))

    assert torch.equal(Asked(9).by(other).log_shares, Asked(9).by(saved).log_shares)
    assert digest(taught(other, 7).state()) == digest(taught(saved, 7).state())
    assert torch.equal(Asked(9).by(other).rows, Asked(9).by(saved).rows)


def test_a_state_is_a_copy() -> None:
    reranker = taught(make())
    state = reranker.state()
    before = digest(state)

    taught(reranker, 3)

    assert digest(state) == before
    assert digest(reranker.state()) != before


def test_a_state_of_another_width_or_of_other_items_is_refused() -> None:
    state, longer = taught(make()).state(), make()
    longer.grow(0, NUM_ITEMS + 1)

    with pytest.raises(StateError, match=r"first: expected float32 \[12, 9\], got float32 \[12, 8\]"):
        make(width=9).load(state)
    with pytest.raises(StateError, match=r"last_seen: expected int64 \[13\], got int64 \[12\]"):
        longer.load(state)


def test_seeds_make_different_networks_that_begin_alike() -> None:
    one, other = make(seed=1), make(seed=2)

    assert torch.equal(Asked(4).by(one).log_shares, Asked(4).by(other).log_shares)
    assert not torch.equal(Asked(4).by(taught(one)).log_shares, Asked(4).by(taught(other)).log_shares)


def test_a_reset_item_was_never_seen() -> None:
    reranker, twin = taught(make(num_best=NUM_ITEMS)), taught(make(num_best=NUM_ITEMS))
    for one in (reranker, twin):
        one.reset(np.empty(0, np.int64), np.arange(NUM_ITEMS))
    reranker.see(torch.tensor([1, 2, 3]))
    twin.see(torch.tensor([1, 1, 3]))
    assert not torch.equal(Asked(4).by(reranker).log_shares, Asked(4).by(twin).log_shares)

    reranker.reset(np.empty(0, np.int64), np.array([2]))

    assert torch.equal(Asked(4).by(reranker).log_shares, Asked(4).by(twin).log_shares)
    assert reranker.state()["last_seen"][2] == 0


def test_growing_keeps_what_was_learned_and_seen() -> None:
    reranker, asked = taught(make()), Asked(5)
    before = asked.by(reranker)

    reranker.grow(0, 5000)

    assert torch.equal(asked.by(reranker).log_shares, before.log_shares)
    assert reranker.state()["last_seen"].shape == (5000,)


def tell(reranked: Reranked) -> Tensor:
    """Return the features of the candidates by their rows."""
    order = reranked.candidates.argsort(1)
    return reranked.features.gather(1, order[:, :, None].expand_as(reranked.features))


def test_questions_are_answered_together_as_alone() -> None:
    reranker, asked = taught(make(num_best=NUM_ITEMS)), Asked(6)
    together = asked.by(reranker)

    for place in range(6):
        part = Asked(6)
        part.channels = [channel[place : place + 1] for channel in asked.channels]
        part.blocked, part.situations = asked.blocked[place : place + 1], asked.situations[place : place + 1]
        part.context = asked.context.take(np.array([place]))
        alone = part.by(reranker)
        assert torch.equal(tell(alone)[0], tell(together)[place])
        assert torch.equal(alone.rows[0], together.rows[place])
        assert torch.allclose(alone.log_shares[0], together.log_shares[place], atol=1e-5)


def test_what_is_behind_the_best_keeps_the_probability_of_the_mixture() -> None:
    asked, reranker = Asked(3), make(5)
    reranker.means["last"].normal_(generator=torch.Generator().manual_seed(1))

    reranked, mixture = asked.by(reranker, 12), asked.mixture()

    inside = (reranked.rows[:, :, None] == reranked.candidates[:, None, :]).any(2)
    shares = mixture.scores.gather(1, reranked.rows.clamp(min=0)) - mixture.log_total[:, None]
    is_behind = ~inside & (reranked.rows >= 0) & torch.isfinite(reranked.log_shares)
    assert reranked.candidates.shape[1] == 5
    assert int(is_behind.sum()) > 5
    assert torch.allclose(reranked.log_shares[is_behind], shares[is_behind])
    assert not torch.allclose(reranked.log_shares[inside], shares[inside])
    assert bool((reranked.log_shares.diff(dim=1).nan_to_num(nan=-1.0) <= 0).all())
