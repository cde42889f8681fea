"""What only this machine reaches, and what a request to it may call it."""

import ipaddress

__all__ = ["is_loopback", "names_this_machine"]


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches this host; of a name other than localhost, nobody knows."""
    bare = host.strip("[]").rstrip(".").lower()
    if bare == "localhost" or bare.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


def names_this_machine(host_header: str, bound_host: str) -> bool:
    """Return whether a request may be answered: one to a port of this machine alone must name this machine.

    Otherwise a web site whose name is made to lead to 127.0.0.1 could read the answer in a visitor's browser.
    """
    if not is_loopback(bound_host):
        return True
    if host_header.startswith("["):
        return is_loopback(host_header.partition("]")[0])
    return is_loopback(host_header.partition(":")[0])
