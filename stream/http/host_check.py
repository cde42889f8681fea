"""What only this machine reaches, and what a request to it may call it."""

import ipaddress
from collections.abc import Sequence

__all__ = ["is_loopback", "may_be_asked_as"]


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches this host; of a name other than localhost, nobody knows."""
    bare = _bare(host)
    if bare == "localhost" or bare.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


def may_be_asked_as(host_header: str, bound_host: str, allowed_hosts: Sequence[str] = ()) -> bool:
    """Return whether a request may be answered that calls this port so.

    Otherwise a web site whose name is made to lead to 127.0.0.1 could read the answer in a visitor's browser.

    Args:
        host_header: of the request.
        bound_host: where the port listens. One of this machine alone must be called by a name of this machine.
        allowed_hosts: further names. With them a port that listens anywhere must be called by one of them; `localhost`
            stands for all names of this machine.
    """
    allowed = {_bare(host) for host in allowed_hosts}
    name = _bare(host_header.partition("]")[0] if host_header.startswith("[") else host_header.partition(":")[0])
    if name in allowed:
        return True
    if is_loopback(bound_host) or "localhost" in allowed:
        return is_loopback(name)
    return not allowed


def _bare(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()
