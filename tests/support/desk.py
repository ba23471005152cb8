"""An operator at the command line, on the platform's servers."""

import asyncio
import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from tests.cli.process import run
from tests.system.conftest import Platform

LETTERS_MOST = 100_000


class Desk:
    """Runs commands of eventhub; `folder` is its data folder."""

    def __init__(self, platform: Platform, folder: Path) -> None:
        self._environ = platform.environ | {"EVENTHUB_DATA_DIR": str(folder)}

    async def run(self, *command: str, **environ: str) -> CompletedProcess[str]:
        return await asyncio.to_thread(lambda: run(*command, cwd=None, **(self._environ | environ)))

    async def ok(self, *command: str, **environ: str) -> str:
        """What a command prints; fails when the command does."""
        ended = await self.run(*command, **environ)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    async def letters(self, *filters: str) -> list[dict[str, Any]]:
        """The dead letters; only the open ones without `--state`."""
        found: list[dict[str, Any]] = json.loads(
            await self.ok("dlq", "list", "--json", "--limit", str(LETTERS_MOST), *filters)
        )
        return found
