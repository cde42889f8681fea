"""The code that the documents show works: Python and marked shell blocks run, settings are real, commands exist."""

import importlib.util
import os
import re
import select
import subprocess
import sys
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from tests.support.doc_blocks import (
    Block,
    BlockFailed,
    Story,
    blocks_of,
    check,
    commands_of,
    is_run,
    needs_broker,
    starts_broker,
    words_of,
)

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    str(path.relative_to(ROOT)) for path in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
]


def blocks_in(document: str) -> list[Block]:
    return blocks_of((ROOT / document).read_text(encoding="utf-8"), document)


def test_there_are_documents_to_judge() -> None:
    assert "README.md" in DOCUMENTS
    assert any(is_run(block) for block in blocks_in("README.md"))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_block_is_what_its_fence_says(document: str) -> None:
    for block in blocks_in(document):
        check(block)


TOLD = [document for document in DOCUMENTS if any(is_run(block) for block in blocks_in(document))]
WITH_BROKER = [document for document in TOLD if any(needs_broker(block) for block in blocks_in(document))]


@pytest.mark.slow
@pytest.mark.parametrize(
    "document",
    [pytest.param(name, marks=pytest.mark.broker if name in WITH_BROKER else ()) for name in TOLD],
)
def test_the_blocks_of_a_document_do_what_it_says(document: str, tmp_path: Path) -> None:
    blocks = [block for block in blocks_in(document) if is_run(block)]
    missing = set(TOOLS) & {words[0] for words in shell_words(blocks) if words} - installed()
    if missing:
        pytest.skip(f"{document} shows {', '.join(sorted(missing))}, which is not installed")
    with ExitStack() as stack:
        bootstrap_servers = None
        if any(starts_broker(block) for block in blocks):
            bootstrap_servers = f"127.0.0.1:{free_port()}"
        elif document in WITH_BROKER:
            bootstrap_servers = stack.enter_context(own_broker()).bootstrap_servers
        story = stack.enter_context(Story(tmp_path, bootstrap_servers))
        for block in blocks:
            story.run(block)


def own_broker():  # noqa: ANN201
    """Return a broker for one document: a document uses the topics' usual names."""
    if importlib.util.find_spec("noida_db") is None:
        pytest.skip("needs the embedded broker: pip install 'millstream[broker]'")
    from millstream.local.embedded_broker import EmbeddedBroker

    return EmbeddedBroker()


TOOLS = ("curl", "kcat", "promtool")


def free_port() -> int:
    from millstream.local import embedded_broker

    return embedded_broker.free_port()


def installed() -> set[str]:
    folders = os.environ["PATH"].split(os.pathsep)
    return {name for name in TOOLS if any((Path(folder) / name).is_file() for folder in folders)}


def shell_words(blocks: list[Block]) -> list[list[str]]:
    return [words for block in blocks for command in commands_of(block) for words in words_of(command)]


SHOWN = sorted({tuple(words) for name in DOCUMENTS for words in shell_words(blocks_in(name)) if words})


@pytest.mark.slow
def test_every_millstream_command_that_a_document_shows_exists_with_its_flags() -> None:
    for words in SHOWN:
        if words[0] == "millstream":
            assert unknown_of_command(words) == [], " ".join(words)


def test_every_make_target_that_a_document_shows_exists() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)

    for words in SHOWN:
        if words[0] == "make":
            assert words[1] in targets, " ".join(words)


def unknown_of_command(words: tuple[str, ...]) -> list[str]:
    """Return the flags of a `millstream` command line that its help does not name, or the command itself."""
    plain = words[1:3] if words[1:2] in (("topics",), ("dlq",)) else words[1:2]
    command = tuple(word for word in plain if not word.startswith("-"))
    shown = help_of(command)
    if shown is None:
        return [" ".join(command)]
    flags = [word.split("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)]
    return [flag for flag in flags if not re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", shown)]


@cache
def help_of(command: tuple[str, ...]) -> str | None:
    done = subprocess.run(
        [sys.executable, "-m", "millstream", *command, "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
        check=False,
    )
    return done.stdout if done.returncode == 0 else None


@pytest.mark.slow
def test_a_command_or_flag_that_does_not_exist_is_noticed() -> None:
    assert unknown_of_command(("millstream", "topics", "create", "--bootstrap-servers", "a:1")) == []
    assert unknown_of_command(("millstream", "topics", "create", "--no-such")) == ["--no-such"]
    assert unknown_of_command(("millstream", "topics", "no-such")) == ["topics no-such"]


MARKDOWN = """# A page

```python no-run
print("one")
```

1. A list

   ```bash test
   $ echo one | cat \\
       --number
        1  one
   $ echo two
   ```

````markdown
```python
raise SystemExit("not a block of this page")
```
````

```
plain
```
"""


def test_blocks_are_found_with_their_line_language_and_markers() -> None:
    found = blocks_of(MARKDOWN, "page.md")

    assert [(block.where, block.language, sorted(block.markers)) for block in found] == [
        ("page.md:3", "python", ["no-run"]),
        ("page.md:9", "bash", ["test"]),
        ("page.md:16", "markdown", []),
        ("page.md:22", "", []),
    ]
    assert found[0].text == 'print("one")\n'
    assert [is_run(block) for block in found] == [False, True, False, False]


def test_commands_are_what_follows_the_prompt_with_continued_lines() -> None:
    assert commands_of(blocks_of(MARKDOWN, "page.md")[1]) == ["echo one | cat \\\n    --number", "echo two"]


def test_a_bash_block_without_prompts_is_commands_from_end_to_end_and_a_console_block_is_none() -> None:
    assert commands_of(block("bash", "echo one\necho two\n")) == ["echo one", "echo two"]
    assert commands_of(block("console", "an output\n")) == []


def test_a_command_line_is_read_command_by_command() -> None:
    line = "kcat -C -t events | head -1 && millstream run --device cpu > 'a file'"

    assert list(words_of(line)) == [
        ["kcat", "-C", "-t", "events"],
        ["head", "-1"],
        ["millstream", "run", "--device", "cpu"],
        ["a file"],
    ]


@pytest.mark.parametrize(
    ("info", "text"),
    [
        ("python typo", "pass"),
        ("python no-run", "print('"),
        ("yaml test", "a: 1"),
        ("toml", "[batching]\nmax_evnts = 3"),
        ("toml", "[batching]\nmax_events = 0"),
    ],
)
def test_a_block_that_cannot_be_right_is_refused_with_its_place(info: str, text: str) -> None:
    with pytest.raises(BlockFailed, match=r"page\.md:1"):
        check(block(info, text))


def test_python_runs_in_the_folder_of_the_story_and_its_failure_names_the_place(tmp_path: Path) -> None:
    with Story(tmp_path, None) as story:
        story.run(block("python", "open('left.txt', 'w').write('x')"))
        assert story.run(block("bash test", "cat left.txt")) == "x"
        with pytest.raises(BlockFailed, match=r"(?s)page\.md:1: ended with status 1\n.*ZeroDivisionError"):
            story.run(block("python", "1 / 0"))


def test_the_usual_addresses_become_those_of_the_story(tmp_path: Path) -> None:
    with Story(tmp_path, "127.0.0.1:7") as story:
        printed = story.run(block("bash test", "$ echo localhost:9092 127.0.0.1:9092 localhost:19092 localhost:9464"))
        port = story.run(block("python", "import os; print(os.environ['MILLSTREAM_METRICS_PORT'])")).strip()
        served = story.run(block("bash test", "$ echo http://localhost:8080/docs $MILLSTREAM_SERVE_PORT")).split()
        broker = story.run(block("python", "import os; print(os.environ['MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS'])"))

    assert printed.split() == ["127.0.0.1:7", "127.0.0.1:7", "localhost:19092", f"127.0.0.1:{port}"]
    assert broker.strip() == "127.0.0.1:7"
    assert served[0] == f"http://127.0.0.1:{served[1]}/docs"
    assert served[1] != port


@pytest.mark.parametrize("script", ["false\necho fine", "false | cat", "echo $NO_SUCH_NAME"])
def test_a_shell_block_fails_at_its_first_failure(script: str, tmp_path: Path) -> None:
    with Story(tmp_path, None) as story, pytest.raises(BlockFailed, match="ended with status 1"):
        story.run(block("bash test", script))


def test_a_block_that_does_not_end_is_ended(tmp_path: Path) -> None:
    with (
        Story(tmp_path, None, deadline_seconds=0.2) as story,
        pytest.raises(BlockFailed, match=r"not done after 0\.2 s"),
    ):
        story.run(block("bash test", "tail -f /dev/null"))


def test_what_runs_in_the_background_ends_with_the_story(tmp_path: Path) -> None:
    # Who holds the writing end of the pipe lives: the shell and its child, until the reading end sees the end of file.
    os.mkfifo(tmp_path / "alive")
    with Story(tmp_path, None) as story:
        story.run(block("bash test background", "exec 3> alive; tail -f /dev/null & wait"))
        reading = os.open(tmp_path / "alive", os.O_RDONLY)  # waits for the shell
        assert select.select([reading], [], [], 0)[0] == []

    assert select.select([reading], [], [], 10)[0] == [reading]
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_a_background_block_that_fails_is_told_at_the_next_block(tmp_path: Path) -> None:
    with Story(tmp_path, None) as story:
        story.run(block("bash test background", "exit 3"))
        story._background[0][1].wait()
        with pytest.raises(BlockFailed, match="in the background with status 3"):
            story.run(block("bash test", "true"))


def block(info: str, text: str) -> Block:
    return blocks_of(f"```{info}\n{text.rstrip()}\n```\n", "page.md")[0]
