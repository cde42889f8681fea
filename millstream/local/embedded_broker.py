"""The broker of the demo, the tests and first steps: noida-db, which speaks Kafka's protocol, on this machine only.

Not for production: what it holds is in memory and written to the data folder now and then and at an orderly stop, so
that the last seconds are lost when it is killed.
"""

import contextlib
import os
import shutil
import socket
import struct
import tempfile
import time
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from millstream.local.guarded_process import GuardedProcess
from producers.files.opening import expecting
from stream.errors import BrokerUnreachable, ConfigError

__all__ = ["EmbeddedBroker", "HOST", "free_port"]

HOST = "127.0.0.1"
START_DEADLINE_SECONDS = 30.0
POLL_SECONDS = 0.02
PORT_ATTEMPTS = 5
STOP_GRACE_SECONDS = 30.0
"""At the end it writes all it holds as JSON, about four times the size of the records."""
EPHEMERAL_GRACE_SECONDS = 1.0
API_VERSIONS_REQUEST = struct.pack(">ihhih", 10, 18, 0, 1, -1)
"""Size, API key, version, correlation id, no client id: the question every Kafka client begins with."""
LOG_NAME = "broker.log"


class EmbeddedBroker:
    """A broker that runs until `stop`, the end of the `with` block, or the end of this process, however it comes.

    Args:
        port: where it listens on 127.0.0.1; 0: any free port.
        data_dir: where it keeps its data between runs; None: a temporary folder, removed at the end.
    """

    def __init__(self, port: int = 0, data_dir: Path | None = None) -> None:
        self._wanted_port = port
        self._data_dir = data_dir
        self._temporary: Path | None = None
        self._process: GuardedProcess | None = None
        self.port = port

    @property
    def bootstrap_servers(self) -> str:
        """The address that Kafka clients are given."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """Process number of the running broker."""
        assert self._process is not None, "the broker was not started"
        return self._process.pid

    @property
    def guard_pid(self) -> int:
        """Process number of the guard that ends the broker when this process dies."""
        assert self._process is not None, "the broker was not started"
        return self._process.guard_pid

    def is_running(self) -> bool:
        """Return True from `start` to the end of the broker, whoever ended it."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the broker and return once it answers.

        Raises:
            ConfigError: the package is not installed, the port is taken, or the data folder cannot be written.
            BrokerUnreachable: it ended at once or did not answer in time; its own last words are in the message.
        """
        assert not self.is_running(), "the broker was started twice"
        binary = _binary()
        # A free port may be taken by somebody else before the broker has it.
        for _ in range(1 if self._wanted_port else PORT_ATTEMPTS):
            self.port = self._wanted_port or free_port()
            if not _is_taken(self.port) and self._try_start(binary):
                return
        raise ConfigError(f"port {self.port} of {HOST} is taken: choose another one with --port, or --port 0 for any")

    def stop(self) -> None:
        """End the broker; with a data folder of its own it first writes down what it holds."""
        if self._process is not None:
            # Nobody reads a temporary folder again: spare the time of writing it.
            self._process.kill() if self._temporary else self._process.stop()
        self._clean_up()

    def kill(self) -> None:
        """End the broker with SIGKILL, as a crash would. What it had not yet written down is lost."""
        if self._process is not None:
            self._process.kill()
        self._clean_up()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _try_start(self, binary: Path) -> bool:
        """Return False when the port was taken in the meantime."""
        with expecting("a folder for the data that can be written", self._data_dir or "the temporary folder"):
            folder = self._folder()
            log = (folder / LOG_NAME).open("wb")
        arguments = ["start", "--only", "kafka", "--kafka-port", str(self.port), "--data-dir", str(folder)]
        grace_seconds = EPHEMERAL_GRACE_SECONDS if self._temporary else STOP_GRACE_SECONDS
        with log:
            self._process = GuardedProcess(
                [str(binary), *arguments], stdout=log, grace_seconds=grace_seconds, scratch_dir=self._temporary
            )
        try:
            return self._await_answer(folder / LOG_NAME)
        except BaseException:
            self.kill()
            raise

    def _await_answer(self, log: Path) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + START_DEADLINE_SECONDS
        while time.monotonic() < deadline:
            status = self._process.wait(POLL_SECONDS)
            if status is not None:
                words = _last_words(log)
                if "already in use" in words:
                    return False
                if "already running for" in words:
                    raise ConfigError(f"{log.parent} is in use by another embedded broker: choose another --data-dir")
                raise BrokerUnreachable(f"the embedded broker ended with status {status}: {words}")
            if _answers(self.port):
                return True
        seconds = f"{START_DEADLINE_SECONDS:g} s"
        raise BrokerUnreachable(f"the embedded broker did not answer on {self.bootstrap_servers} within {seconds}")

    def _folder(self) -> Path:
        if self._data_dir is not None:
            self._data_dir.mkdir(parents=True, exist_ok=True)
            return self._data_dir
        if self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="millstream-broker-"))
        return self._temporary

    def _clean_up(self) -> None:
        self._process = None
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None


def free_port() -> int:
    """Return a port of this machine that nobody listens on now; somebody faster may take it."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _binary() -> Path:
    """Return the program itself: the package's own launcher would leave it running when the launcher is ended."""
    if find_spec("noida_db") is None:
        raise ConfigError("the embedded broker is not installed: pip install 'millstream[broker]'")
    binary = Path(str(files("noida_db") / "noida-db"))
    if not binary.is_file():
        raise ConfigError(f"{binary}: expected the program of the package noida-db; there is none for this system")
    if not os.access(binary, os.X_OK):
        binary.chmod(0o755)
    return binary


def _is_taken(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1.0):
        return True
    return False


def _answers(port: int) -> bool:
    """Return True when whoever listens there answers Kafka's ApiVersions request without an error."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1.0) as connection:
        connection.sendall(API_VERSIONS_REQUEST)
        answer = connection.recv(10, socket.MSG_WAITALL)
        return len(answer) == 10 and struct.unpack(">iih", answer)[1:] == (1, 0)
    return False


def _last_words(log: Path) -> str:
    # The loader grumbles about a weak symbol on older systems, and it does no harm.
    lines = [line for line in log.read_text(errors="replace").splitlines() if "weak version" not in line]
    return " | ".join(lines[-4:]) or "it said nothing"
