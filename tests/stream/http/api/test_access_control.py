"""Tokens and rates: by hand, with a clock that goes on when it is told to."""

import os
from pathlib import Path

import pytest

from stream.errors import ConfigError
from stream.http.api.tokens import TokenFile
from stream.http.rate_limit import RateLimit
from tests.support.events import ManualClock


def write(path: Path, text: str, time_ns: int = 1) -> Path:
    path.write_text(text)
    os.utime(path, ns=(time_ns, time_ns))
    return path


def test_a_token_is_a_line_that_is_neither_empty_nor_a_remark(tmp_path: Path) -> None:
    tokens = TokenFile(write(tmp_path / "tokens", "# front end\nsecret-1\n\n  secret-2  \n"))

    assert tokens.holder("secret-1")
    assert tokens.holder("secret-2")
    for wrong in ("", "secret", "secret-1 ", "# front end", "secret-1\nsecret-2", "\udcff"):
        assert tokens.holder(wrong) is None, wrong


def test_holders_have_names_of_their_own_that_do_not_tell_the_token(tmp_path: Path) -> None:
    tokens = TokenFile(write(tmp_path / "tokens", "secret-1\nsecret-2\n"))

    names = {tokens.holder("secret-1"), tokens.holder("secret-2")}

    assert len(names) == 2
    assert not any("secret" in str(name) for name in names)


def test_a_changed_file_is_read_again_within_a_second(tmp_path: Path) -> None:
    clock = ManualClock()
    tokens = TokenFile(write(tmp_path / "tokens", "old\n"), clock)
    write(tmp_path / "tokens", "new\n", time_ns=2)
    assert tokens.holder("old")

    clock.advance(1.0)

    assert tokens.holder("old") is None
    assert tokens.holder("new")


def test_a_file_that_is_gone_leaves_the_tokens_and_an_emptied_one_takes_them(tmp_path: Path) -> None:
    clock = ManualClock()
    path = write(tmp_path / "tokens", "secret\n")
    tokens = TokenFile(path, clock)

    path.unlink()
    clock.advance(1.0)
    assert tokens.holder("secret")

    write(path, "# nobody\n", time_ns=3)
    clock.advance(1.0)
    assert tokens.holder("secret") is None


@pytest.mark.parametrize("text", [None, "", "# only a remark\n"])
def test_a_server_does_not_start_without_a_token_that_it_was_told_to_ask_for(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    if text is not None:
        write(path, text)

    with pytest.raises(ConfigError, match=r"serve\.tokens_file.*tokens"):
        TokenFile(path)


def test_a_client_may_ask_a_burst_at_once_and_then_at_the_rate() -> None:
    clock = ManualClock()
    limit = RateLimit(2.0, 3, clock)

    assert [limit.wait_seconds("ana") for _ in range(4)] == [0, 0, 0, 0.5]
    clock.advance(0.25)
    assert limit.wait_seconds("ana") == 0.25
    clock.advance(0.25)
    assert limit.wait_seconds("ana") == 0
    assert limit.wait_seconds("ben") == 0


def test_a_pause_saves_no_more_than_the_burst() -> None:
    clock = ManualClock()
    limit = RateLimit(2.0, 3, clock)
    limit.wait_seconds("ana")

    clock.advance(3600.0)

    assert [limit.wait_seconds("ana") for _ in range(4)] == [0, 0, 0, 0.5]


def test_a_rate_of_zero_is_no_limit() -> None:
    limit = RateLimit(0.0, 1, ManualClock())

    assert [limit.wait_seconds("ana") for _ in range(100)] == [0] * 100


def test_of_too_many_clients_the_longest_silent_one_is_forgotten() -> None:
    limit = RateLimit(1.0, 1, ManualClock(), max_clients=2)
    for client in ("ana", "ben", "ana", "cid"):
        limit.wait_seconds(client)

    assert limit.wait_seconds("ana") == 1.0  # remembered
    assert limit.wait_seconds("ben") == 0.0  # begins anew


def test_tokens_of_an_editor_that_writes_byte_order_marks_are_the_same(tmp_path: Path) -> None:
    for encoding in ("utf-8-sig", "utf-16"):
        file = tmp_path / encoding
        file.write_bytes("secret-1\r\n".encode(encoding))

        assert TokenFile(file).holder("secret-1") is not None
