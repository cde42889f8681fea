"""Promises of reading standard input: lines come as they are written, and a stop does not wait for the next one."""

import os

import pytest

from producers.files.standard_input import Stopped, stoppable, until_stopped
from producers.shutdown import StopFlag


def test_lines_come_as_they_are_written_until_the_end() -> None:
    reading, writing = os.pipe()
    stream = stoppable(reading, StopFlag())

    os.write(writing, b"one\ntwo")
    assert stream.readline() == b"one\n"
    os.close(writing)
    assert list(stream) == [b"two"]
    os.close(reading)


def test_a_stop_ends_the_wait_and_half_a_line_is_not_taken_for_a_whole_one() -> None:
    reading, writing = os.pipe()
    flag = StopFlag()
    stream = stoppable(reading, flag)

    os.write(writing, b"one\ntw")
    lines = until_stopped(stream)
    assert next(lines) == b"one\n"
    flag.is_set = True
    assert list(lines) == []
    with pytest.raises(Stopped):
        stream.readline()
    os.close(writing)
    os.close(reading)
