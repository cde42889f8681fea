"""What is this machine's own, and the names under which its ports answer."""

import pytest

from stream.http.host_check import is_loopback, names_this_machine


def test_only_this_machine_is_loopback() -> None:
    mine = ("localhost", "localhost.", "a.localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]")
    others = ("0.0.0.0", "kafka", "10.0.0.1", "::", "localhost.example.org", "notlocalhost", "")
    assert all(is_loopback(host) for host in mine)
    assert not any(is_loopback(host) for host in others)


@pytest.mark.parametrize(
    "host", ["localhost:9464", "127.0.0.1:9464", "127.8.8.8", "[::1]:80", "LOCALHOST", "a.localhost"]
)
def test_a_port_of_this_machine_answers_to_the_names_of_this_machine(host: str) -> None:
    assert names_this_machine(host, "127.0.0.1")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9464", "10.0.0.1", "localhost.evil.example", "", "[::2]"]
)
def test_a_port_of_this_machine_answers_to_no_other_name(host: str) -> None:
    assert not names_this_machine(host, "127.0.0.1")
    assert not names_this_machine(host, "localhost")
    assert not names_this_machine(host, "::1")


def test_a_port_that_others_reach_answers_to_any_name() -> None:
    assert names_this_machine("millstream.example:9464", "0.0.0.0")
