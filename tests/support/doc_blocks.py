"""The code blocks of the documents: found by their fences, run as a reader would run them.

The markers after the language of a fence are in CONTRIBUTING.md. The blocks of one document are one story: they run in
order, in one empty folder, against one broker.
"""

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stream.config.settings import Settings

__all__ = [
    "Block",
    "BlockFailed",
    "Story",
    "blocks_of",
    "check",
    "commands_of",
    "is_run",
    "needs_broker",
    "starts_broker",
]

MARKERS = {
    "python": {"no-run"},
    "bash": {"test", "background"},
    "console": {"test", "background"},
    "toml": {"no-settings"},
}
"""Language to the markers that may follow it. Blocks of other languages are left alone and carry none."""

DEADLINE_SECONDS = 120.0
GRACE_SECONDS = 10.0
_FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>`{3,})(?P<info>[^`\n]*)\n(?P<text>.*?)^(?P=indent)(?P=ticks)`* *$", re.M | re.S
)
_BROKER = re.compile(r"\b(?:localhost|127\.0\.0\.1):9092\b")
_OWN_BROKER = re.compile(r"^millstream broker$", re.MULTILINE)
_SERVE = re.compile(r"\b(?:localhost|127\.0\.0\.1):8080\b")
_METRICS = re.compile(r"\b(?:localhost|127\.0\.0\.1):9464\b")


class BlockFailed(AssertionError):
    """A block did not do what its document says."""


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: where it begins, its language and markers, and its text without the indentation."""

    where: str
    language: str
    markers: frozenset[str]
    text: str


def blocks_of(text: str, name: str) -> list[Block]:
    """Return the fenced blocks of a Markdown text, in order.

    Args:
        text: the document.
        name: how messages call it.
    """
    found = []
    for match in _FENCE.finditer(text):
        language, *markers = match["info"].split() or [""]
        line = text.count("\n", 0, match.start()) + 1
        body = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        found.append(Block(f"{name}:{line}", language, frozenset(markers), body))
    return found


def commands_of(block: Block) -> list[str]:
    """Return the shell commands of a block: what follows `$ `, with the lines that a backslash continues.

    A bash block without a single `$ ` is commands from end to end.
    """
    lines = block.text.splitlines()
    has_prompts = any(line.startswith("$ ") for line in lines)
    if block.language not in ("bash", "console") or (block.language == "console" and not has_prompts):
        return []
    commands: list[str] = []
    continued = False
    for line in lines:
        if continued:
            commands[-1] += "\n" + line
        elif line.startswith("$ ") or not has_prompts:
            commands.append(line.removeprefix("$ "))
        continued = bool(commands) and commands[-1].endswith("\\")
    return [command for command in commands if command.strip()]


def check(block: Block) -> None:
    """Judge a block without running it.

    Raises:
        BlockFailed: an unknown marker, Python that does not compile, or settings that do not exist.
    """
    unknown = block.markers - MARKERS.get(block.language, set())
    if unknown:
        raise BlockFailed(f"{block.where}: unknown marker {', '.join(sorted(unknown))} after ```{block.language}")
    try:
        if block.language == "python":
            compile(block.text, block.where, "exec")
        if block.language == "toml" and "no-settings" not in block.markers:
            Settings.model_validate(tomllib.loads(block.text))
    except (SyntaxError, ValueError) as error:
        raise BlockFailed(f"{block.where}: {error}") from error


def is_run(block: Block) -> bool:
    """Return True for the blocks that a story runs."""
    if block.language == "python":
        return "no-run" not in block.markers
    return block.language in ("bash", "console") and bool(block.markers & {"test", "background"})


def needs_broker(block: Block) -> bool:
    """Return True when running the block may ask for a broker: it is a shell block, or it names the usual address."""
    return is_run(block) and (block.language != "python" or _BROKER.search(block.text) is not None)


def starts_broker(block: Block) -> bool:
    """Return True when running the block starts the broker of its document."""
    return is_run(block) and _OWN_BROKER.search(block.text) is not None


@dataclass
class Story:
    """Runs the blocks of one document; what runs in the background ends with the `with` block.

    Args:
        folder: where the blocks run.
        bootstrap_servers: takes the place of localhost:9092; None: no broker, and no block that needs one.
    """

    folder: Path
    bootstrap_servers: str | None
    deadline_seconds: float = DEADLINE_SECONDS
    _metrics_port: int = 0
    _serve_port: int = 0
    _background: list[tuple[Block, subprocess.Popen[bytes]]] = field(default_factory=list)

    def __enter__(self) -> "Story":
        with socket.socket() as free, socket.socket() as other:
            free.bind(("127.0.0.1", 0))
            other.bind(("127.0.0.1", 0))
            self._metrics_port, self._serve_port = free.getsockname()[1], other.getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        for _block, process in reversed(self._background):
            end(process)

    def run(self, block: Block) -> str:
        """Run one block to its end, or start it when it is marked `background`; return what it printed.

        Raises:
            BlockFailed: it ended with another status than 0 or not in time, or one in the background has ended badly.
        """
        output_path = self.folder / f"block-{len(list(self.folder.glob('block-*')))}.out"
        with output_path.open("wb") as output:
            process = subprocess.Popen(
                self._argv(block),
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if "background" in block.markers:
            self._background.append((block, process))
            return ""
        try:
            process.wait(self.deadline_seconds)
        except subprocess.TimeoutExpired:
            end(process)
            raise BlockFailed(
                f"{block.where}: not done after {self.deadline_seconds:g} s\n{output_path.read_text()}"
            ) from None
        printed = output_path.read_text(encoding="utf-8", errors="replace")
        if process.returncode != 0:
            raise BlockFailed(f"{block.where}: ended with status {process.returncode}\n{printed}")
        self._check_background()
        return printed

    def _check_background(self) -> None:
        for block, process in self._background:
            if process.poll() not in (None, 0):
                raise BlockFailed(f"{block.where}: ended in the background with status {process.returncode}")

    def _argv(self, block: Block) -> list[str]:
        if block.language == "python":
            return [sys.executable, "-c", self._replace_addresses(block.text)]
        script = "\n".join(self._replace_addresses(command) for command in commands_of(block))
        return ["bash", "-euo", "pipefail", "-c", script]

    def _replace_addresses(self, text: str) -> str:
        if self.bootstrap_servers is not None:
            text = _BROKER.sub(self.bootstrap_servers, text)
            text = _OWN_BROKER.sub(f"millstream broker --port {self.bootstrap_servers.rpartition(':')[2]}", text)
        text = _SERVE.sub(f"127.0.0.1:{self._serve_port}", text)
        return _METRICS.sub(f"127.0.0.1:{self._metrics_port}", text)

    def _environment(self) -> dict[str, str]:
        programs = str(Path(sys.executable).parent)
        environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
        environment["MILLSTREAM_METRICS_PORT"] = str(self._metrics_port)
        environment["MILLSTREAM_SERVE_PORT"] = str(self._serve_port)
        if self.bootstrap_servers is not None:
            environment["MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS"] = self.bootstrap_servers
        return environment


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all it started: in the orderly way, and what is left of it by force."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def words_of(command: str) -> Iterator[list[str]]:
    """Yield the words of each simple command of a command line, without redirections' targets being told apart."""
    lexer = shlex.shlex(command.replace("\\\n", " "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for token in lexer:
        if set(token) <= set("();<>|&"):
            yield words
            words = []
        else:
            words.append(token)
    yield words
