"""Commands as processes: help, exit codes, data on stdout and the rest on stderr."""

import json
from pathlib import Path

import pytest

from eventhub import __version__
from tests.cli.process import run


@pytest.mark.parametrize(
    "path", [[], ["serve"], ["keys", "create"], ["token", "create"], ["feed", "replay"], ["events", "tail"]]
)
def test_every_command_explains_itself(path: list[str]) -> None:
    told = run(*path, "--help")
    assert told.returncode == 0
    assert "Usage: eventhub" in told.stdout


def test_the_version_is_data() -> None:
    assert run("version").stdout == f"{__version__}\n"
    assert json.loads(run("version", "--json").stdout) == {"version": __version__}


def test_a_token_is_alone_on_stdout_and_needs_no_server(tmp_path: Path) -> None:
    made = run("token", "create", "--user", "ann", EVENTHUB_DATA_DIR=str(tmp_path))
    assert made.returncode == 0
    assert made.stdout.count("\n") == 1
    assert made.stdout.count(".") == 2


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "word"),
    [
        (["nope"], {}, 64, "nope"),
        (["serve", "--port", "many"], {}, 64, "port"),
        (["keys", "create", "radio"], {}, 64, "radio"),
        (["feed", "replay", "x", "--provider", "wyscout", "--match-id", "m", "--speed", "0"], {}, 64, "--speed"),
        (["feed", "replay", "gone.json", "--provider", "wyscout", "--match-id", "m"], {}, 65, "gone.json"),
        (["feed", "replay", "x", "--provider", "opta", "--match-id", "m"], {}, 65, "wyscout"),
        (["token", "create"], {"EVENTHUB_HTP__PORT": "1"}, 78, "EVENTHUB_HTTP__PORT"),
        (["token", "create"], {"EVENTHUB_AUTH__SIGNING_KEY": "sesame"}, 78, "auth.signing_key"),
    ],
)
def test_a_wrong_call_says_what_is_wrong_and_ends_with_its_code(
    arguments: list[str], environ: dict[str, str], code: int, word: str, tmp_path: Path
) -> None:
    refused = run(*arguments, cwd=tmp_path, **({"EVENTHUB_DATA_DIR": str(tmp_path)} | environ))
    assert refused.returncode == code, refused.stderr
    assert word in refused.stderr
    assert refused.stdout == ""
    assert "Traceback" not in refused.stderr
    assert "sesame" not in refused.stderr
