"""The shells complete commands, flags and the names of settings."""

import os
import shutil
import subprocess
import sys

import pytest

from stream.config.loading import setting_fields


def completed(line: str, *, shell: str = "bash") -> list[str]:
    """Return what the command offers for a line, asked in the way of the script that it installs."""
    words = line.split(" ")
    ask = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)} if shell == "bash" else {}
    ask |= {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv = ['millstream']; from millstream.main import main; main()"],
        env={**os.environ, "_MILLSTREAM_COMPLETE": f"complete_{shell}", **ask},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout.split("\n")


@pytest.mark.slow
def test_commands_and_the_names_of_settings_are_completed() -> None:
    assert "doctor" in completed("millstream d")
    assert [line for line in completed("millstream run --set batching.") if line] == [
        f"{name}=" for name, _ in setting_fields() if name.startswith("batching.")
    ]
    assert "not_json" in completed("millstream dlq list --code not")


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_the_same_with_the_text_of_each_setting(shell: str) -> None:
    shown = "\n".join(completed("millstream run --set batching.", shell=shell))

    assert "batching.max_events=" in shown
    assert "Most records in a batch" in shown


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_it_can_read(shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "millstream", "--show-completion", shell],
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "millstream" in done.stdout
    if shutil.which(shell):
        assert subprocess.run([shell, "-n"], input=done.stdout, text=True, timeout=30, check=False).returncode == 0
