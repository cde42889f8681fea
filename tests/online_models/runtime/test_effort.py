"""The ladder of effort: what a rung spends and what it leaves alone."""

from dataclasses import replace

import numpy as np
import pytest

from online_models import Batch, Effort, OnlineLearner, SequenceConfig, digest
from online_models.scorers.sequence.scorer import SequenceScorer
from tests.support.streams import cycle, run, small_config

STREAM = cycle(320)
EFFORTS = [Effort.LOW, Effort.HIGH, Effort.NORMAL, Effort.LOW, Effort.LOW, Effort.HIGH]


def taught(effort: Effort, stream: Batch = STREAM) -> OnlineLearner:
    learner = OnlineLearner(small_config())
    run(learner, replace(stream, effort=effort), 32)
    return learner


def sequence_of(learner: OnlineLearner) -> SequenceScorer:
    scorer = learner._scorers["sequence"]
    assert isinstance(scorer, SequenceScorer)
    return scorer


def test_a_batch_that_says_nothing_gets_the_normal_effort() -> None:
    assert STREAM.effort is Effort.NORMAL
    assert STREAM.part(0, 5).effort is Effort.NORMAL
    assert replace(STREAM, effort=Effort.LOW).part(3, 9).effort is Effort.LOW


@pytest.mark.slow
@pytest.mark.parametrize(("effort", "num_steps"), [(Effort.LOW, 10), (Effort.NORMAL, 20), (Effort.HIGH, 40)])
def test_low_takes_every_other_step_of_the_optimizer_and_high_two_with_each_sub_step(
    effort: Effort, num_steps: int
) -> None:
    scorer = sequence_of(taught(effort))  # 320 events in sub-steps of 16

    assert (scorer.num_learned, scorer.weights.adam.num_steps) == (20, num_steps)


def test_low_learns_nothing_past_again() -> None:
    drawn: list[int] = []
    learner = OnlineLearner(small_config())
    replay = sequence_of(learner).replay
    draw = replay.draw
    replay.draw = lambda rng, num_windows, length: drawn.append(num_windows) or draw(rng, num_windows, length)  # type: ignore[assignment,func-returns-value]

    for effort in (Effort.LOW, Effort.NORMAL):
        run(learner, replace(STREAM.part(0, 32), effort=effort), 32)

    assert drawn == [0, 4, 4]  # one step of two, then two of two


@pytest.mark.slow
@pytest.mark.parametrize("effort", list(Effort))
def test_every_event_is_evaluated_and_known_to_every_memory_on_every_rung(effort: Effort) -> None:
    learner, normal = OnlineLearner(small_config()), OnlineLearner(small_config())

    reports = run(learner, replace(STREAM, effort=effort), 32)

    expected = run(normal, STREAM, 32)
    counted = [(one.num_evaluated, one.num_learned, one.num_items_known) for one in reports]
    assert counted == [(one.num_evaluated, one.num_learned, one.num_items_known) for one in expected]
    for name in ("transitions", "popularity", "neighbours"):
        assert digest(learner._scorers[name].state()) == digest(normal._scorers[name].state())


def test_the_second_step_of_high_is_beside_other_past_events() -> None:
    drawn: list[bytes] = []
    learner = taught(Effort.NORMAL)
    replay = sequence_of(learner).replay
    draw = replay.draw

    def watched(rng: np.random.Generator, num_windows: int, length: int) -> object:
        windows = draw(rng, num_windows, length)
        drawn.append(windows.item_rows.tobytes())
        return windows

    replay.draw = watched  # type: ignore[method-assign,assignment]
    run(learner, replace(cycle(16), effort=Effort.HIGH), 16)

    assert len(drawn) == 2
    assert drawn[0] != drawn[1]


@pytest.mark.slow
@pytest.mark.parametrize("max_full_softmax_items", [20_000, 10])
def test_a_learner_restored_between_changes_of_effort_goes_on_bit_for_bit(max_full_softmax_items: int) -> None:
    sequence = SequenceConfig(
        width=16, state_width=16, replay_windows=4, replay_targets=4, max_full_softmax_items=max_full_softmax_items
    )
    config = small_config(sequence=sequence)
    never, always = OnlineLearner(config), OnlineLearner(config)
    for number, effort in enumerate(EFFORTS * 2):
        batch = replace(STREAM.part(number * 24, number * 24 + 24), effort=effort)
        restored = OnlineLearner(config)
        restored.load(always.state())
        always = restored
        for learner in (never, always):
            learner.step(batch)
    assert digest(always.state()) == digest(never.state())
    assert never.is_finite()


@pytest.mark.slow
def test_efforts_lead_to_different_models() -> None:
    assert len({digest(taught(effort).state()) for effort in Effort}) == 3
