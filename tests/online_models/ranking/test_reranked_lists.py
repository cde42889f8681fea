"""What is listed is what is reported: the learner's lists and ranks once its best are ordered anew."""

import numpy as np
import pytest

from online_models import NO_ROW, Batch, OnlineLearner, RerankerConfig, SequenceConfig
from online_models import learner as learner_module
from online_models.scorers.registry import RERANKED
from tests.support.streams import events, run, small_config

NUM_USERS, NUM_ITEMS = 16, 24
SHORT = RerankerConfig(num_best=6, width=8, learning_rate=0.02)
"""Six of 24 items are ordered anew."""
QUICK = SequenceConfig(width=8, state_width=8, replay_windows=0)


def shop(num_events: int = 256, seed: int = 0) -> Batch:
    """Return a stream in which everyone walks round a circle of items, often comes back, and buys every fourth."""
    rng = np.random.default_rng(seed)
    users = rng.integers(0, NUM_USERS, num_events)
    places = np.zeros(NUM_USERS, np.int64)
    items = []
    for user in users.tolist():
        places[user] += rng.choice([1, 1, 1, 0, 5])
        items.append(int(3 * user + places[user]) % NUM_ITEMS)
    batch = events(users.tolist(), items)
    batch.owns[:] = rng.random(num_events) < 0.25
    return batch


def taught(stream: Batch | None = None, **changes: object) -> OnlineLearner:
    learner = OnlineLearner(small_config(**{"reranker": SHORT, "sequence": QUICK, **changes}))
    run(learner, shop() if stream is None else stream, 32)
    return learner


def of_all_users(seed: int) -> Batch:
    """Return one later event of every user, in one sub-step."""
    rng = np.random.default_rng(seed)
    users = rng.permutation(NUM_USERS).tolist()
    return events(users, rng.integers(0, NUM_ITEMS, NUM_USERS).tolist(), [10**9 + seed] * NUM_USERS)


def test_the_default_scorer_orders_its_best_anew() -> None:
    assert small_config().scorer in RERANKED


@pytest.mark.slow
@pytest.mark.parametrize("num_best", [6, 100])
def test_a_rank_in_the_report_is_the_place_in_the_list_asked_for_just_before(num_best: int) -> None:
    learner = taught(reranker=RerankerConfig(num_best=num_best, width=8, learning_rate=0.02))
    num_inside = num_first = 0
    for seed in range(12):
        batch = of_all_users(seed)
        lists = learner.rank(batch.user_rows, 6).item_rows
        batch.item_rows[::2] = lists[::2, seed % 6]  # every other user takes what was listed
        report = learner.step(batch)
        assert report.num_evaluated > NUM_USERS / 2
        for event, rank in zip(report.evaluated.tolist(), report.ranks["model"].tolist(), strict=True):
            places = np.flatnonzero(lists[event] == batch.item_rows[event])
            assert rank == places[0] + 1 if len(places) else rank > 6
            num_inside += len(places)
            num_first += rank == 1.0

    assert num_inside >= 12 * NUM_USERS / 2
    assert num_first >= 2 * NUM_USERS / 2


def test_the_reported_lists_are_those_that_were_asked_for_just_before() -> None:
    learner = taught()
    for seed in range(5):
        batch = of_all_users(seed)
        lists = learner.rank(batch.user_rows, 3).item_rows
        report = learner.step(batch)
        assert np.array_equal(report.top_rows["model"], lists[report.evaluated])


def test_the_reported_loss_is_that_of_the_score_that_was_listed() -> None:
    learner = taught()
    for seed in range(5):
        batch = of_all_users(seed)
        top = learner.rank(batch.user_rows, 6)
        report = learner.step(batch)
        is_it = top.item_rows[report.evaluated] == batch.item_rows[report.evaluated][:, None]
        listed = np.flatnonzero(is_it.any(axis=1))
        shares = top.scores[report.evaluated][is_it]
        assert len(listed) > 1
        assert report.loss_nats[listed] == pytest.approx(-np.log(shares), abs=1e-4)


def test_the_new_order_is_not_that_of_the_mixture() -> None:
    """Without this the tests of this file would hold for a reranker that does nothing."""
    learner = taught()
    reranked = learner.rank(np.arange(NUM_USERS), 6).item_rows
    learner._ranker._reranker = None

    mixed = learner.rank(np.arange(NUM_USERS), 6).item_rows

    assert not np.array_equal(reranked, mixed)
    assert np.array_equal(np.sort(reranked, axis=1), np.sort(mixed, axis=1))


@pytest.mark.parametrize("k", [1, 6, 7, 24, 40])
def test_lists_of_any_length_are_in_order_and_of_different_items_that_may_be_listed(k: int) -> None:
    stream = shop()
    learner = taught(stream)
    owned = set(zip(stream.user_rows[stream.owns].tolist(), stream.item_rows[stream.owns].tolist(), strict=True))
    learner.step(events([], [], reset_items=[5]))

    top = learner.rank(np.arange(NUM_USERS), k)

    assert top.item_rows.shape == (NUM_USERS, k)
    assert (np.diff(top.scores, axis=1) <= 0).all()
    assert ((top.scores >= 0) & (top.scores <= 1)).all()
    for user in range(NUM_USERS):
        listed = [item for item in top.item_rows[user].tolist() if item != NO_ROW]
        may_be = {item for item in range(NUM_ITEMS) if item != 5 and (user, item) not in owned}
        assert len(set(listed)) == len(listed) == min(k, len(may_be))
        assert set(listed) <= may_be
        assert (top.scores[user, len(listed) :] == 0).all()
        assert (top.item_rows[user, len(listed) :] == NO_ROW).all()
        assert (top.scores[user, : len(listed)] > 0).all()


def test_a_shorter_list_is_the_beginning_of_a_longer_one_up_to_what_is_ordered_anew() -> None:
    learner, users = taught(), np.arange(NUM_USERS)
    longest = learner.rank(users, 6)

    for k in (1, 3, 5):
        assert np.array_equal(learner.rank(users, k).item_rows, longest.item_rows[:, :k])
        assert np.array_equal(learner.rank(users, k).scores, longest.scores[:, :k])


def test_a_list_as_long_as_the_catalogue_shares_out_all_of_the_probability() -> None:
    scores = taught().rank(np.arange(NUM_USERS), NUM_ITEMS).scores

    assert scores.sum(axis=1) == pytest.approx(np.ones(NUM_USERS), abs=1e-5)


@pytest.mark.parametrize("num_users_together", [1, 3, 16])
def test_lists_asked_for_in_blocks_are_the_same_up_to_rounding_and_bit_for_bit_each_time(
    num_users_together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, users = taught(), np.append(np.arange(NUM_USERS), 10**6)
    together = learner.rank(users, 10)

    monkeypatch.setattr(learner_module, "_RANK_BLOCK_CELLS", num_users_together * NUM_ITEMS)
    blocks = learner.rank(users, 10)

    assert np.array_equal(blocks.item_rows, together.item_rows)
    assert np.array_equal(blocks.reasons, together.reasons)
    # A product of matrices adds up in another order where it has other numbers of rows.
    assert blocks.scores == pytest.approx(together.scores, abs=1e-6)
    assert np.array_equal(learner.rank(users, 10).scores, blocks.scores)


def test_the_report_counts_lists_longer_than_what_is_ordered_anew() -> None:
    learner = taught(k=9)

    report = learner.step(of_all_users(0))

    assert report.top_rows["model"].shape == (report.num_evaluated, 9)
    assert (report.top_rows["model"] != NO_ROW).all()


def test_nothing_is_learned_from_an_item_that_was_not_known() -> None:
    learner = taught()
    assert learner._ranker._reranker is not None
    before = {name: table.clone() for name, table in learner._ranker._reranker.weights.items()}

    learner.step(events([0, 1], [NUM_ITEMS, NUM_ITEMS + 1], [10**9] * 2))

    assert all((learner._ranker._reranker.weights[name] == table).all() for name, table in before.items())
    learner.step(events([0, 1], [NUM_ITEMS, NUM_ITEMS + 1], [10**9] * 2))  # now they are
    assert not all((learner._ranker._reranker.weights[name] == table).all() for name, table in before.items())


def test_events_worth_nothing_or_against_an_item_are_not_when_it_came_last() -> None:
    learner = taught()
    assert learner._ranker._reranker is not None
    before = learner._ranker._reranker.state()

    learner.step(events([0, 1, 2], [3, 4, 6], [10**9] * 3, [0.0, -1.0, 1.0]))

    after = learner._ranker._reranker.state()
    assert after["num_events"] == before["num_events"] + 1
    assert np.flatnonzero(after["last_seen"] != before["last_seen"]).tolist() == [6]


def test_when_a_reset_item_came_last_is_forgotten() -> None:
    learner = taught()
    assert learner._ranker._reranker is not None
    before = learner._ranker._reranker.state()["last_seen"]

    learner.step(events([], [], reset_items=[5]))

    assert before[5] > 0
    assert learner._ranker._reranker.state()["last_seen"].tolist() == [*before[:5].tolist(), 0, *before[6:].tolist()]


def test_a_model_that_gives_no_number_has_no_rank_among_its_best() -> None:
    stream = shop()
    stream.owns[:] = False  # who has the broken item is not asked about it
    learner = taught(stream)
    weights = learner._scorers["sequence"].weights
    weights.items[3] = weights.mean_items[3] = float("nan")

    report = learner.step(of_all_users(0))

    # The best six of a question are among those that have no number; beyond them ranks are still counted.
    assert (report.ranks["model"] > 6.0).all()
    assert np.isinf(report.ranks["model"]).sum() > 2
    assert np.isfinite(report.loss_nats).all()
    assert report.num_nonfinite_steps >= 1
