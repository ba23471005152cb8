"""Completion scripts: bash takes ours, and completes commands, options and choices."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.process import run

BASH = shutil.which("bash")
ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
spec=$(complete -p eventhub); [[ $spec =~ -F\\ ([^ ]+) ]] || exit 1
"${BASH_REMATCH[1]}" eventhub "${COMP_WORDS[COMP_CWORD]}" ""
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    printed = run("completion", "bash")
    assert printed.returncode == 0, printed.stderr
    assert printed.stderr == ""
    path = tmp_path_factory.mktemp("completion") / "eventhub.bash"
    path.write_text(printed.stdout)
    return path


def completed(script: Path, *words: str) -> list[str]:
    assert BASH is not None
    asked = subprocess.run(
        [BASH, "--norc", "--noprofile", "-c", ASK, "bash", str(script), *words],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return asked.stdout.split()


@pytest.mark.skipif(BASH is None, reason="bash is not here")
def test_bash_takes_the_script(script: Path) -> None:
    checked = subprocess.run([str(BASH), "-n", str(script)], capture_output=True, text=True, timeout=30)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.skipif(BASH is None, reason="bash is not here")
def test_bash_completes_commands_their_subcommands_options_and_choices(script: Path) -> None:
    assert completed(script, "eventhub", "se") == ["serve"]
    assert set(completed(script, "eventhub", "config", "")) >= {"show", "defaults"}
    assert completed(script, "eventhub", "serve", "--admin") == ["--admin-port"]
    assert completed(script, "eventhub", "keys", "create", "br") == ["broadcast"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_get_scripts_that_name_the_commands(shell: str) -> None:
    printed = run("completion", shell)
    assert printed.returncode == 0
    assert "eventhub" in printed.stdout.splitlines()[0]
    assert all(word in printed.stdout for word in ("serve", "config", "show", "--admin-port"))


def test_an_unknown_shell_is_wrong_usage_that_names_the_known_ones() -> None:
    refused = run("completion", "tcsh")
    assert refused.returncode == 64
    assert "bash" in refused.stderr and refused.stdout == ""
