"""`millstream run`: the worker."""

from millstream.options import BootstrapOption, ConfigOption, DeviceOption, SetOption, settings_from
from stream.logs import configure_logs

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
    from stream.worker import Worker, stop_on_signals  # torch is loaded only by the command that needs it

    settings = settings_from(config, set_, bootstrap_servers, device)
    configure_logs(settings.log)
    worker = Worker(settings)
    stop_on_signals(worker.stop)
    worker.run()
