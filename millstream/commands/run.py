"""`millstream run`: the worker."""

import logging

from millstream.options import BootstrapOption, ConfigOption, DeviceOption, SetOption, settings_from
from producers.stopping import stop_on_signals
from stream.logs import configure_logs, log_event

__all__ = ["run"]


def run(
    config: ConfigOption = None,
    set_: SetOption = None,
    bootstrap_servers: BootstrapOption = None,
    device: DeviceOption = None,
) -> None:
    """Learn from the events topic and publish fresh lists, until Ctrl-C or SIGTERM.

    Every micro-batch is one Kafka transaction: its lists, its dead letters, its journal record and its offsets become
    visible together or not at all. One worker per worker.transactional_id: a second one takes over.
    """
    settings = settings_from(config, set_, bootstrap_servers, device)
    configure_logs(settings.log)
    with stop_on_signals(_say_stopping) as flag:
        flag.may_leave_at_once = True  # while it starts; from then on the running batch is committed first
        from stream.worker import Worker  # torch is loaded only by the command that needs it

        worker = Worker(settings)
        flag.may_leave_at_once = False
        worker.run(lambda: flag.is_set)


def _say_stopping() -> None:
    log_event(logging.INFO, "stopping", hint="the running batch is committed first; Ctrl-C again leaves at once")
