"""What can go wrong, and the exit code that says so.

Every error that a person can act on is a `MillstreamError`: its message says where, what was expected, what arrived and
what to do. Its `exit_code` is what the `millstream` command returns, so that a supervisor can tell "start me again"
(1, 6, 7, 8) from "a person is needed" (3, 4, 9) and "another worker is at it" (5).
"""

__all__ = [
    "BrokerUnreachable",
    "ConfigError",
    "FencedError",
    "MillstreamError",
    "ModelBroken",
    "RecordsGone",
    "RefusedToStart",
    "Stalled",
    "TransactionInDoubt",
    "Unhealthy",
    "VerificationFailed",
    "EXIT_CODES",
]


class MillstreamError(Exception):
    """Base of all errors that Millstream raises on purpose."""

    exit_code: int = 1


class ConfigError(MillstreamError):
    """A setting, flag or input file is wrong. Nothing was started."""

    exit_code = 3


class RefusedToStart(MillstreamError):
    """The topics or offsets are not in a state in which starting would be right. Nothing was started."""

    exit_code = 4


class RecordsGone(RefusedToStart):
    """Records that a journalled batch was made of are no longer in the log."""


class FencedError(MillstreamError):
    """Another worker with the same transactional id took over. This one must not write again."""

    exit_code = 5


class TransactionInDoubt(MillstreamError):
    """A transaction failed or did not answer in time. It was aborted or will be on restart; start the worker again."""

    exit_code = 6


class BrokerUnreachable(MillstreamError):
    """The broker did not answer at start, or not for longer than allowed."""

    exit_code = 7


class Stalled(MillstreamError):
    """A partition stands still although records wait and the brokers answer. A new connection is the remedy."""

    exit_code = 8


class ModelBroken(MillstreamError):
    """The model holds NaN or infinity, and no single event is at fault. A new model is needed."""

    exit_code = 9


class VerificationFailed(MillstreamError):
    """The log does not lead to the state or the lists that are there."""

    exit_code = 10


class Unhealthy(MillstreamError):
    """`status` or `doctor` found something that does not work. The report on standard output says what to do."""

    exit_code = 11


EXIT_CODES: dict[int, str] = {
    0: "finished, or stopped by Ctrl-C or SIGTERM after the running batch was committed",
    1: "an unexpected error: please report it with the log",
    2: "wrong usage of the command",
    3: "a setting, flag or input file is wrong",
    4: "refused to start: the message says what to put right",
    5: "fenced: another worker with the same transactional id has taken over",
    6: "a transaction was in doubt and is rolled back: start again",
    7: "the broker could not be reached",
    8: "a partition stood still while records waited: start again",
    9: "the model's numbers are no longer finite: a new model is needed, see --cold and --from-beginning",
    10: "verify: log, checkpoints and lists do not agree",
    11: "status, doctor: something does not work, and the report says what to do",
    130: "a second Ctrl-C: left at once, the open transaction is rolled back",
}
"""What each exit code of the `millstream` command means."""
