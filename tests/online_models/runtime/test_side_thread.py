"""The second thread: what it does is done in order, is waited for, and changes nothing of what is learned."""

import threading
from functools import partial

import numpy as np
import pytest
import torch

from online_models import OnlineLearner, digest
from online_models.runtime.side_thread import Lane, Task
from online_models.users.history import SubStep
from tests.support.streams import cycle, run, small_config


@pytest.mark.parametrize("is_apart", [False, True])
def test_every_piece_of_work_is_done_once_whoever_does_it(is_apart: bool) -> None:
    lane, done = Lane(is_apart), []
    tasks = [Task(partial(done.append, number)) for number in range(50)]

    lane.begin(tasks)
    for task in reversed(tasks):
        task.result()
        task.result()
    lane.finish()

    assert sorted(done) == list(range(50))


def test_what_the_lane_has_not_begun_is_done_by_who_asks() -> None:
    lane, gate = Lane(is_apart=True), threading.Event()
    first, second = Task(partial(gate.wait, 30)), Task(threading.current_thread)
    lane.begin([first, second])

    assert second.result() is threading.current_thread()
    gate.set()
    assert first.result() is True


def test_the_lane_does_what_comes_after_a_piece_that_another_is_at() -> None:
    lane, begun, gate = Lane(is_apart=True), threading.Event(), threading.Event()
    slow = Task(lambda: (begun.set(), gate.wait(30)))
    helper = threading.Thread(target=slow.result)
    helper.start()
    assert begun.wait(30)

    passed = threading.Event()
    lane.begin([slow, Task(passed.set)])
    assert passed.wait(30)
    gate.set()
    helper.join()
    lane.finish()


@pytest.mark.parametrize("is_apart", [False, True])
def test_what_comes_after_something_waits_for_it(is_apart: bool) -> None:
    for _ in range(50):
        lane, done = Lane(is_apart), []
        first = Task(partial(done.append, "first"))
        second = Task(partial(done.append, "second"), after=first)

        lane.begin([second])
        first.result()
        second.result()
        lane.finish()

        assert done == ["first", "second"]


@pytest.mark.parametrize("is_apart", [False, True])
def test_what_went_wrong_is_raised_to_who_asks(is_apart: bool) -> None:
    lane = Lane(is_apart)
    broken = Task(lambda: 1 // 0)
    after = Task(lambda: 5, after=broken)

    lane.begin([broken, after])

    for task in (after, broken, broken):
        with pytest.raises(ZeroDivisionError):
            task.result()
    lane.finish()


def test_what_was_not_begun_when_the_lane_finished_is_never_done() -> None:
    lane, begun, gate, done = Lane(is_apart=True), threading.Event(), threading.Event(), threading.Event()
    lane.begin([Task(lambda: (begun.set(), gate.wait(30))), Task(done.set)])
    assert begun.wait(30)

    threading.Timer(0.2, gate.set).start()
    lane.finish()

    assert gate.is_set()
    assert not done.is_set()


def test_work_has_as_many_torch_threads_as_who_gives_it_has_at_that_time() -> None:
    before, lane = torch.get_num_threads(), Lane(is_apart=True)
    try:
        for num_threads in (2, 1, 3):
            torch.set_num_threads(num_threads)
            waiting, seen = threading.Event(), []
            lane.begin([Task(lambda seen=seen, waiting=waiting: (seen.append(torch.get_num_threads()), waiting.set()))])
            assert waiting.wait(30)  # so that it is the second thread that does it
            lane.finish()
            assert seen == [num_threads]
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("scorer", ["sequence", "mf", "transitions"])
def test_what_is_learned_beside_is_what_is_learned_in_turn(scorer: str) -> None:
    beside, in_turn = OnlineLearner(small_config(scorer)), OnlineLearner(small_config(scorer))
    in_turn._lane = Lane(is_apart=False)

    reports = [run(learner, cycle(320), 48) for learner in (beside, in_turn)]

    assert digest(beside.state()) == digest(in_turn.state())
    for one, other in zip(*reports, strict=True):
        assert np.array_equal(one.ranks["model"], other.ranks["model"])
        assert np.array_equal(one.loss_nats, other.loss_nats)


def test_a_step_that_failed_leaves_nothing_running(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = OnlineLearner(small_config())
    run(learner, cycle(64), 32)
    lead, begun, gate, ended = learner._scorers["sequence"], threading.Event(), threading.Event(), threading.Event()
    learn = lead.learn

    def slowly(step: SubStep, known: object) -> bool:
        begun.set()
        gate.wait(30)
        ended.set()
        return learn(step, known)  # type: ignore[arg-type]

    def fail(*_: object) -> None:
        assert begun.wait(30)
        gate.set()
        raise MemoryError

    monkeypatch.setattr(lead, "learn", slowly)
    monkeypatch.setattr(learner._ranker._fusion, "weights_of", fail)

    with pytest.raises(MemoryError):
        run(learner, cycle(32), 32)
    assert ended.is_set()
