"""Questions cross from one thread to another, a few at a time, and never bring the worker down."""

import pytest

from stream.http.page.interactive_queries import ANSWERS_PER_ROUND, MOST_WAITING, NoAnswer, Questions


def test_a_question_is_answered_with_the_state_when_its_owner_comes_round() -> None:
    questions = Questions[list[int]]()
    future = questions.ask(sum)

    assert not future.done()
    questions.answer([1, 2, 3])

    assert future.result(0) == 6


def test_a_round_answers_a_few_and_leaves_the_rest_for_the_next() -> None:
    questions = Questions[int]()
    futures = [questions.ask(lambda state, number=number: state + number) for number in range(ANSWERS_PER_ROUND + 1)]

    questions.answer(10)
    assert [future.done() for future in futures] == [True] * ANSWERS_PER_ROUND + [False]

    questions.answer(20)
    assert futures[-1].result(0) == 20 + ANSWERS_PER_ROUND


def test_too_many_questions_are_refused_and_those_that_were_given_up_make_room() -> None:
    questions = Questions[int]()
    futures = [questions.ask(lambda state: state) for _ in range(MOST_WAITING)]

    with pytest.raises(NoAnswer, match="16 questions wait"):
        questions.ask(lambda state: state)

    futures[3].cancel()
    late = questions.ask(lambda state: -state)
    for _ in range(MOST_WAITING):
        questions.answer(5)
    assert late.result(0) == -5
    assert futures[0].result(0) == 5


def test_a_question_that_fails_fails_for_who_asked() -> None:
    questions = Questions[int]()
    bad, good = questions.ask(lambda state: 1 // state), questions.ask(lambda state: state)

    questions.answer(0)

    with pytest.raises(ZeroDivisionError):
        bad.result(0)
    assert good.result(0) == 0


def test_after_the_end_who_waits_is_told_and_who_comes_is_refused() -> None:
    questions = Questions[int]()
    future = questions.ask(lambda state: state)

    questions.close()

    with pytest.raises(NoAnswer, match="stopping"):
        future.result(0)
    with pytest.raises(NoAnswer, match="stopping"):
        questions.ask(lambda state: state)
