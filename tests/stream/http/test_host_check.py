"""What is this machine's own, and the names under which its ports answer."""

import pytest

from stream.http.host_check import is_loopback, may_be_asked_as


def test_only_this_machine_is_loopback() -> None:
    mine = ("localhost", "localhost.", "a.localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]")
    others = ("0.0.0.0", "kafka", "10.0.0.1", "::", "localhost.example.org", "notlocalhost", "")
    assert all(is_loopback(host) for host in mine)
    assert not any(is_loopback(host) for host in others)


@pytest.mark.parametrize(
    "host", ["localhost:9464", "127.0.0.1:9464", "127.8.8.8", "[::1]:80", "LOCALHOST", "a.localhost"]
)
def test_a_port_of_this_machine_answers_to_the_names_of_this_machine(host: str) -> None:
    assert may_be_asked_as(host, "127.0.0.1")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9464", "10.0.0.1", "localhost.evil.example", "", "[::2]"]
)
def test_a_port_of_this_machine_answers_to_no_other_name(host: str) -> None:
    assert not may_be_asked_as(host, "127.0.0.1")
    assert not may_be_asked_as(host, "localhost")
    assert not may_be_asked_as(host, "::1")


def test_a_port_that_others_reach_answers_to_any_name() -> None:
    assert may_be_asked_as("millstream.example:9464", "0.0.0.0")


@pytest.mark.parametrize("bound", ["0.0.0.0", "127.0.0.1"])
@pytest.mark.parametrize(
    ("host", "is_answered"),
    [
        ("localhost:8080", True),
        ("127.0.0.1:8080", True),
        ("[::1]:8080", True),
        ("Serve.:8080", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("serve.evil.example", False),
        ("", False),
    ],
)
def test_a_port_with_allowed_hosts_answers_to_them_alone_wherever_it_listens(
    bound: str, host: str, is_answered: bool
) -> None:
    assert may_be_asked_as(host, bound, ("localhost", "serve")) == is_answered


def test_without_localhost_among_the_allowed_a_port_that_others_reach_answers_to_the_others_alone() -> None:
    assert may_be_asked_as("shop.example", "0.0.0.0", ("shop.example",))
    assert not may_be_asked_as("localhost", "0.0.0.0", ("shop.example",))
