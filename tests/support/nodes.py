"""Nodes as processes: started, killed, frozen, woken, ended, by their process id."""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import psutil

from eventhub.embedded.lease import is_free
from eventhub.tasks import end

READY_TIMEOUT_S = 60


def free_port() -> int:
    """A port that nothing listens on now, and that no connection gets before it is listened on.

    Below those that the system hands to whoever connects (from 32768), and those of embedded services (from 20000).
    """
    while not is_free(port := 10_000 + secrets.randbelow(10_000)):
        pass
    return port


class NodeProcess:
    """One `eventhub serve`; keeps its ports and data folder over restarts, and may come back as another `program`.

    `shared` is a data folder of several nodes, which then share embedded services; `flags` follow `serve`.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        environ: Mapping[str, str],
        program: tuple[str, ...] = (),
        *,
        shared: Path | None = None,
        flags: tuple[str, ...] = (),
    ) -> None:
        self.name, self.folder = name, shared or folder / name
        self.port, self.admin_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.admin_url = f"http://127.0.0.1:{self.admin_port}"
        self.log_path = folder / f"{name}.log"
        self.program = program or (sys.executable, "-m", "eventhub")
        self._environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith("EVENTHUB_")},
            **environ,
            "EVENTHUB_DATA_DIR": str(self.folder),
        }
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended, negative for a signal; None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def start(self) -> None:
        ports = ("--port", str(self.port), "--admin-port", str(self.admin_port))
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.program, "serve", *ports, *self._flags],
                env=self._environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=Path(__file__).parents[2],
            )

    async def ready(self) -> None:
        """Wait for /readyz."""
        async with httpx2.AsyncClient(timeout=2) as http, asyncio.timeout(READY_TIMEOUT_S):
            while True:
                assert self._process is not None
                assert self._process.poll() is None, f"{self.name} ended:\n{self.tail()}"
                try:
                    if (await http.get(f"{self.admin_url}/readyz")).status_code == 200:
                        return
                except httpx2.HTTPError:
                    pass
                await asyncio.sleep(0.05)

    async def owns(self, family: str) -> list[int]:
        """The partitions that this node says it works on."""
        async with httpx2.AsyncClient(timeout=10) as http:
            status = (await http.get(f"{self.admin_url}/status")).json()
            partitions: list[int] = status["families"][family]["partitions"]
            return partitions

    def kill(self) -> None:
        """kill -9; asserts that it was alive."""
        assert self._process is not None
        assert self._process.poll() is None, f"{self.name} was dead already:\n{self.tail()}"
        self._process.kill()
        self._process.wait(10)

    def is_frozen(self) -> bool:
        return bool(psutil.Process(self.pid).status() == psutil.STATUS_STOPPED)

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def wake(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def end(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self._process is not None
        self._process.terminate()
        return await asyncio.to_thread(self._process.wait, 20)

    def close(self) -> None:
        """End it, whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])


@asynccontextmanager
async def running(*nodes: NodeProcess) -> AsyncIterator[None]:
    """Nodes that are started, ready, and ended whatever happens; what they said stands in the output of a failure."""
    try:
        for node in nodes:
            node.start()
        await asyncio.gather(*(node.ready() for node in nodes))
        yield
    except BaseException:
        # Not in a note of the error: its own words must stay short enough for a summary.
        for node in nodes:
            print(f"{node.name} said at last:\n{node.tail()}")
        raise
    finally:
        for node in nodes:
            node.close()


@asynccontextmanager
async def supervised(*nodes: NodeProcess) -> AsyncIterator[list[int]]:
    """Running nodes, each started again whenever it ends, as whatever runs them would; yields their exit codes."""
    ends: list[int] = []

    async def watch() -> None:
        while True:
            for node in nodes:
                code = node.exit_code
                if code is not None:
                    ends.append(code)
                    node.start()
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    try:
        yield ends
    finally:
        await end(watching)
