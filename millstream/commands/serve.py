"""`millstream serve`: lists and events over HTTP."""

import logging

from millstream.terminal.options import BootstrapOption, ConfigOption, SetOption, settings_from
from producers.shutdown import stop_on_signals
from stream.logs import configure_logs, log_event

__all__ = ["serve"]


def serve(config: ConfigOption = None, set_: SetOption = None, bootstrap_servers: BootstrapOption = None) -> None:
    """Serve lists and take events over HTTP, until Ctrl-C or SIGTERM.

    Reads the recommendations topic from its beginning, so any number of replicas can run beside the worker. The
    interface is described at /docs, for people, and at /openapi.json; settings are those of the section [serve].
    """
    settings = settings_from(config, set_, bootstrap_servers)
    configure_logs(settings.log)
    with stop_on_signals(_say_stopping) as flag:
        flag.may_leave_at_once = True  # while it starts
        from stream.http.connections import raise_descriptor_limit

        raise_descriptor_limit()
        from stream.http.api import ListServer  # the HTTP packages are loaded only by the command that needs them

        server = ListServer(settings)
        flag.may_leave_at_once = False
        server.run(lambda: flag.is_set)


def _say_stopping() -> None:
    log_event(logging.INFO, "stopping", hint="running requests are finished first; Ctrl-C again leaves at once")
