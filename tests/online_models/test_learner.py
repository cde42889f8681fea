"""The learner as a whole: score first, then learn; fresh, repeatable, and never upset by odd input."""

import numpy as np
import pytest
import torch

from online_models import NO_ROW, SCORERS, Batch, ConfigError, OnlineLearner, StepReport, TopK
from online_models.scores import Candidates
from tests.support.streams import NONE, cycle, events, run, small_config

NAMES = ("model", "transitions", "popularity")


def taught(stream: Batch, scorer: str = "sequence", batch_size: int = 32, **changes: object) -> OnlineLearner:
    learner = OnlineLearner(small_config(scorer, **changes))
    run(learner, stream, batch_size)
    return learner


def assert_same(one: TopK, other: TopK) -> None:
    for name in ("item_rows", "scores", "reasons"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


def joined(reports: list[StepReport], name: str) -> np.ndarray:
    return np.concatenate([report.ranks[name] for report in reports])


@pytest.mark.slow
@pytest.mark.parametrize("scorer", list(SCORERS))
def test_an_event_is_ranked_alike_whatever_comes_after_it(scorer: str) -> None:
    past, one, other = cycle(128), cycle(16, seed=1), cycle(16, seed=2)
    ranks = []
    for future in (one, other):
        learner = taught(past, scorer)
        batch = events(
            [3, *future.user_rows.tolist()],
            [7, *future.item_rows.tolist()],
            [10**6] * 17,
        )
        report = learner.step(batch)
        ranks.append([report.ranks[name][0] for name in NAMES])

    assert ranks[0] == ranks[1]


@pytest.mark.slow
@pytest.mark.parametrize("scorer", list(SCORERS))
def test_the_same_seed_and_batches_give_the_same_bits(scorer: str) -> None:
    one, other = taught(cycle(256), scorer), taught(cycle(256), scorer)

    assert_same(one.rank(np.arange(8), 5), other.rank(np.arange(8), 5))


@pytest.mark.parametrize("scorer", list(SCORERS))
def test_where_batches_are_cut_between_sub_steps_makes_no_difference(scorer: str) -> None:
    small, large = OnlineLearner(small_config(scorer)), OnlineLearner(small_config(scorer))
    stream = cycle(256)

    one, other = run(small, stream, 16), run(large, stream, 128)

    assert np.array_equal(joined(one, "model"), joined(other, "model"))
    assert_same(small.rank(np.arange(8), 5), large.rank(np.arange(8), 5))


def test_another_seed_gives_another_model() -> None:
    one, other = taught(cycle(64)), taught(cycle(64), seed=1)

    assert not np.array_equal(one.rank(np.arange(8), 5).scores, other.rank(np.arange(8), 5).scores)


def test_ranking_changes_nothing() -> None:
    one, other = taught(cycle(128)), taught(cycle(128))
    for _ in range(3):
        one.rank(np.arange(20), 4)

    later = events([3] * 64, list(range(24)) * 2 + list(range(16)), list(range(10**7, 10**7 + 64)))
    one.step(later)
    other.step(later)

    assert_same(one.rank(np.arange(8), 5), other.rank(np.arange(8), 5))


def test_a_list_knows_the_event_of_the_batch_just_learned() -> None:
    learner = taught(cycle(640, num_items=12))
    learner.step(events([50], [4], [10**7]))
    first = learner.rank(np.array([50]), 1)

    learner.step(events([50], [8], [10**7 + 1]))

    assert first.item_rows.tolist() == [[5]]
    assert first.reasons.tolist() == [[4]]
    assert learner.rank(np.array([50]), 1).item_rows.tolist() == [[9]]
    assert learner.history(50).tolist() == [8, 4]


def test_an_event_of_the_same_batch_is_ranked_with_the_history_it_made() -> None:
    learner = taught(cycle(640, num_items=12))

    report = learner.step(events([60, 60, 60], [2, 3, 4], [10**7] * 3))

    assert report.ranks["transitions"][1:].tolist() == [1.0, 1.0]
    assert report.ranks["transitions"][0] == 6.5  # nothing is known: all twelve tie


def test_a_target_never_seen_before_has_no_rank_and_no_infinite_loss() -> None:
    learner = OnlineLearner(small_config())

    report = learner.step(events([0, 1], [0, 1]))

    assert all(np.isinf(report.ranks[name]).all() for name in NAMES)
    assert report.loss_nats.tolist() == [0.0, 0.0]  # a guess among one: nothing was known
    assert report.num_items_known == 2
    assert learner.step(events([2], [9])).loss_nats.tolist() == pytest.approx([np.log(3.0)])


def test_equal_scores_share_the_middle_rank() -> None:
    learner = OnlineLearner(small_config("popularity"))
    learner.step(events([0, 1, 2, 3, 3], [0, 1, 2, 3, 3]))

    report = learner.step(events([4], [0], [10**6]))

    # Item 3 is ahead; 0, 1 and 2 tie for the ranks 2, 3 and 4.
    assert report.ranks["popularity"].tolist() == [3.0]
    assert report.top_rows["popularity"].tolist() == [[3, 0, 1]]


def test_what_a_user_has_is_neither_listed_nor_evaluated_again() -> None:
    learner = OnlineLearner(small_config())
    learner.step(events([0, 0, 1], [0, 1, 2], owns=True))

    report = learner.step(events([0, 0, 0], [1, 2, 2], [10**6] * 3, owns=True))

    assert report.evaluated.tolist() == [1]
    assert (report.num_repeats, report.num_evaluated, report.num_learned) == (2, 1, 3)
    assert report.ranks["model"].tolist() == [1.0]
    assert learner.rank(np.array([0]), 3).item_rows.tolist() == [[NO_ROW] * 3]
    assert set(learner.rank(np.array([1]), 3).item_rows[0].tolist()) == {0, 1, NO_ROW}


def test_what_is_not_owned_may_be_listed_again() -> None:
    learner = OnlineLearner(small_config())
    learner.step(events([0, 0], [0, 1]))

    assert set(learner.rank(np.array([0]), 2).item_rows[0].tolist()) == {0, 1}


def test_scores_of_a_list_are_probabilities_in_descending_order() -> None:
    top = taught(cycle(320)).rank(np.arange(8), 24)

    assert np.allclose(top.scores.sum(axis=1), 1.0, atol=1e-5)
    assert (np.diff(top.scores, axis=1) <= 0).all()


def test_a_list_longer_than_the_catalogue_is_padded() -> None:
    top = taught(cycle(320)).rank(np.array([0]), 30)

    assert (top.item_rows[0, 24:] == NO_ROW).all()
    assert (top.scores[0, 24:] == 0).all()
    assert (top.reasons[0, 24:] == NO_ROW).all()


def test_a_user_without_history_gets_a_list_of_the_popular() -> None:
    learner = OnlineLearner(small_config())
    for start in range(40):
        learner.step(events([start * 3, start * 3 + 1, start * 3 + 2], [7, 7, start % 7]))

    top = learner.rank(np.array([10**6]), 3)

    assert top.item_rows[0, 0] == 7
    assert (top.reasons == NO_ROW).all()


def test_reset_rows_are_forgotten_before_the_batch_is_used() -> None:
    learner = taught(cycle(320))

    report = learner.step(events([0], [5], [10**7], reset_users=[0], reset_items=[5]))

    assert learner.history(0).tolist() == [5]
    assert np.isinf(report.ranks["model"]).all()
    assert all(5 not in learner.history(user) for user in range(1, 8))


def test_a_reset_item_is_listed_for_nobody_until_it_comes_again() -> None:
    learner = taught(cycle(320))

    learner.step(events([], [], reset_items=[5]))

    assert 5 not in learner.rank(np.arange(8), 24).item_rows


def test_a_late_event_is_learned_and_does_not_become_the_newest() -> None:
    learner = OnlineLearner(small_config())
    learner.step(events([0, 0], [1, 3], [100, 300]))

    report = learner.step(events([0], [2], [200]))

    assert report.num_late == 1
    assert learner.history(0).tolist() == [3, 2, 1]
    assert report.num_learned == 1


def test_a_step_that_is_not_finite_is_left_out_and_counted() -> None:
    learner = taught(cycle(320))
    sequence = learner._scorers["sequence"]
    table = sequence.weights.items.clone()
    sequence.weights.items[3] = float("nan")

    report = learner.step(events([0] * 16, [3, 4] * 8, [10**7] * 16))
    sequence.weights.items[3] = table[3]

    assert report.num_nonfinite_steps >= 1
    assert torch.equal(sequence.weights.items, table)
    assert np.allclose(learner.rank(np.arange(8), 24).scores.sum(axis=1), 1.0, atol=1e-5)


ODD = {
    "no event": events([], []),
    "one event": events([0], [0]),
    "one user": events([0] * 200, list(range(200))),
    "one user and one item": events([0] * 70, [0] * 70),
    "a thousand events of one user": events([1] * 1000, [i % 30 for i in range(1000)]),
    "evidence against unknown items": events([0, 1], [5, 6], weights=[-1.0, -1.0]),
    "nothing worth learning": events([0, 1], [5, 6], weights=[0.0, 0.0]),
    "huge weights": events([0, 0, 1], [1, 2, 3], weights=[3e38, 3e38, -3e38]),
    "equal times": events([0] * 20, list(range(20)), [0] * 20),
    "falling times": events([0] * 20, list(range(20)), list(range(20, 0, -1))),
    "times from the year 1 to the year 9999": events([0, 0], [0, 1], [-62_135_596_800_000, 253_402_300_799_000]),
    "the ends of time": events([0, 0, 0], [0, 1, 2], [-(2**63), 2**63 - 1, 2**63 - 1]),
    "far rows": events([70_000], [50_000]),
    "all types": events([0] * 3, [0, 1, 2]),
    "resets of rows never used": events([0], [0], reset_users=[10**9], reset_items=[10**9]),
}


@pytest.mark.parametrize("scorer", list(SCORERS))
@pytest.mark.parametrize("odd", list(ODD))
def test_odd_but_valid_input_is_learned_and_lists_stay_in_order(odd: str, scorer: str) -> None:
    learner = OnlineLearner(small_config(scorer, sub_step_events=64))
    batch = ODD[odd]

    for _ in range(2):
        report = learner.step(batch)

    users = np.unique(np.append(batch.user_rows, 3))
    top = learner.rank(users, 4)
    assert report.num_events == len(batch)
    assert top.item_rows.shape == (len(users), 4)
    assert np.isfinite(top.scores).all()
    assert len(report.loss_nats) == report.num_evaluated == len(report.evaluated)
    assert np.isfinite(report.loss_nats).all()


def test_nobody_to_rank_and_nothing_to_rank_give_empty_lists() -> None:
    learner = OnlineLearner(small_config())

    assert learner.rank(NONE, 4).item_rows.shape == (0, 4)
    assert learner.rank(np.array([5]), 4).item_rows.tolist() == [[NO_ROW] * 4]


def test_an_unknown_scorer_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"scorer: expected one of popularity, .*, sequence, got 'gru'"):
        OnlineLearner(small_config("gru"))


def test_the_clock_is_used_for_the_two_durations_only() -> None:
    ticks = iter(range(1000))
    report = OnlineLearner(small_config(), clock=lambda: float(next(ticks))).step(cycle(32))

    # Three readings a sub-step, one apart; two sub-steps of 16.
    assert (report.evaluate_seconds, report.learn_seconds) == (2.0, 2.0)


@pytest.mark.slow
def test_trust_moves_from_popularity_to_the_sequence_on_a_circle() -> None:
    learner = OnlineLearner(small_config())
    first = learner.fusion_weights()

    run(learner, cycle(1600), 64)

    last = learner.fusion_weights()
    assert last["sequence"] > first["sequence"]
    assert last["popularity"] < first["popularity"]


def test_table_sizes_name_everything_that_grows_with_what_is_used_of_it() -> None:
    sizes = taught(cycle(320)).table_sizes()

    assert sizes["histories.users"] == (8, 1024)
    assert sizes["sequence.items"] == (24, 1024)
    assert all(0 <= used <= allocated for used, allocated in sizes.values())


@pytest.mark.slow
def test_a_catalogue_above_the_limit_is_learned_with_drawn_items() -> None:
    config = small_config()
    few = type(config.sequence)(
        width=16, state_width=16, replay_windows=4, replay_targets=4, max_full_softmax_items=10, num_negatives=16
    )
    learner = OnlineLearner(small_config(sequence=few))

    reports = run(learner, cycle(1600), 64)

    sequence = learner._scorers["sequence"]
    scores = sequence.score(learner._histories.context(np.arange(8)), Candidates.all(24)).table()
    newest = np.array([learner.history(user)[0] for user in range(8)])
    assert joined(reports[15:], "model").mean() < 4.0
    assert (scores.argmax(1).numpy() == (newest + 1) % 24).mean() > 0.5
