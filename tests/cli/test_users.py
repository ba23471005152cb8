"""`eventhub users`: accounts made and closed from the command line; a password is never an argument and never shown."""

import getpass
import json
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest

from eventhub import kafka
from eventhub.cli.users import _password as asked_for
from eventhub.embedded import Services
from eventhub.errors import UsageError
from tests.cli.process import COMMAND, TIMEOUT_S, clean, run

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(services: Services, cluster: kafka.Kafka, database: str, tmp_path: Path) -> Command:
    """Runs `eventhub users …` on the run's Kafka and a database of its own."""
    environ = clean(
        {
            "EVENTHUB_DATA_DIR": str(tmp_path),
            "EVENTHUB_KAFKA__BOOTSTRAP_SERVERS": services.addresses.kafka,
            "EVENTHUB_KAFKA__REPLICATION": "1",
            "EVENTHUB_POSTGRES__DSN": database,
        }
    )

    def run_it(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, "users", *arguments], input=stdin, env=environ, capture_output=True, text=True, timeout=TIMEOUT_S
        )

    return run_it


async def test_users_are_made_listed_and_closed(command: Command) -> None:
    made = command("create", "ann", "--plan", "gold", stdin="correct horse battery\n")
    assert (made.returncode, made.stdout) == (0, ""), made.stderr
    assert "ann" in made.stderr and "horse" not in made.stderr
    again = command("create", "ann", stdin="correct horse battery\n")
    assert again.returncode == 65 and "already" in again.stderr
    weak = command("create", "bob", stdin="short\n")
    assert weak.returncode == 65 and "5 characters" in weak.stderr and "short" not in weak.stderr
    assert command("plan", "ann", "silver").returncode == 0
    assert command("disable", "ann").returncode == 0
    (shown,) = json.loads(command("list", "--json").stdout)
    assert (shown["name"], shown["plan"], shown["disabled"]) == ("ann", "silver", True)
    missing = command("disable", "bob")
    assert missing.returncode == 65 and "users list" in missing.stderr
    assert command("disable", "bob", "--unknown").returncode == 0


@pytest.mark.parametrize(
    "arguments", [["create", "ann", "secret-horse"], ["create", "ann", "--password", "secret-horse"]]
)
def test_a_password_is_never_an_argument(arguments: list[str]) -> None:
    assert run("users", *arguments).returncode == 64


def test_at_a_terminal_it_is_asked_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    answers = iter(["one horse", "one horse", "one horse", "another"])
    monkeypatch.setattr(getpass, "getpass", lambda _: next(answers))
    assert asked_for() == "one horse"
    with pytest.raises(UsageError, match="differ"):
        asked_for()


def test_nothing_on_stdin_is_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO("with spaces \r\nmore\n"))
    assert asked_for() == "with spaces "
    monkeypatch.setattr(sys, "stdin", StringIO(""))
    with pytest.raises(UsageError, match="stdin"):
        asked_for()
