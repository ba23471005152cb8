"""A Valkey of a test's own: started, frozen, woken, killed, by its process id."""

import os
import signal
from pathlib import Path

import psutil

from eventhub.embedded import valkey
from eventhub.embedded.lease import Process, stop


class Server:
    """A Valkey in a folder; comes back at its address."""

    def __init__(self, folder: Path) -> None:
        self.home = valkey.Home(folder / "valkey", folder / "valkey.json")
        self.start()

    @property
    def url(self) -> str:
        return valkey.url(self.home, self._port)

    def start(self) -> None:
        record = valkey.ensure(self.home, say=lambda _: None)
        assert record.process
        self.process: Process = record.process
        self._port = record.ports["server"]

    def freeze(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def wake(self) -> None:
        assert psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED, "it was not frozen"
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        stop(self.process, ((signal.SIGKILL, 10.0),))
