"""A node's process for the tests: joins the folder it is given, writes the pids, and leaves when its input ends."""

import json
import sys
from pathlib import Path

from eventhub.config import Settings
from eventhub.embedded import Part, join


def _silent(*_: object) -> None:
    pass


if __name__ == "__main__":
    services = join(Settings(data_dir=Path(sys.argv[1])), say=_silent, progress=_silent)
    parts: tuple[Part, ...] = ("kafka", "postgres", "valkey")
    print(json.dumps([services.pid(part) for part in parts]), flush=True)
    sys.stdin.read()
    services.leave()
