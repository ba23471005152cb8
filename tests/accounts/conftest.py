"""Two nodes' accounts on one Postgres and one Kafka, without the rest of the nodes."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from eventhub import accounts, auth, kafka, topics
from eventhub.auth import passwords
from eventhub.errors import UnavailableError
from eventhub.storage import AccountStore, Pool
from eventhub.tasks import end

PASSWORD = "correct horse battery"


class NodeAccounts:
    """One node: what it has folded, its check, its service, and the operators' desk."""

    def __init__(self, scene: "Scene") -> None:
        self.changed: list[str] = []
        self.folded = auth.Accounts(self.changed.append)
        self.writer = kafka.Writer(scene.cluster)
        self.access = auth.Access(scene.tokens, self.folded, now=lambda: scene.at)
        word, verifier = accounts.Word(self.writer, self.folded), accounts.Verifier()
        store = AccountStore(scene.pool)
        self.word, self.verifier = word, verifier
        self.service = accounts.Service(
            store=store,
            tokens=scene.tokens,
            accounts=self.folded,
            word=word,
            verifier=verifier,
            unavailable=scene.unavailable,
            now=lambda: scene.at,
            of_user=accounts.Attempts("of this user", per_minute=1, burst=5),
        )
        self.desk = accounts.Desk(store, self.folded, word, verifier)
        self.table = kafka.Table(scene.cluster, topics.ACCOUNTS, 1, self.folded.fold)


class Scene:
    """Nodes `one` and `two`, a clock that a test moves, and a database that it takes away."""

    def __init__(self, cluster: kafka.Kafka, dsn: str, folder: Path) -> None:
        self.cluster, self.at = cluster, datetime.now(UTC)
        self.user = f"ann-{secrets.token_hex(4)}"
        self.lost = self.read_only = False
        self.dsn = dsn
        self.pool = Pool(dsn, "accounts", size=4, statement_timeout_s=5, read_only=lambda: self.read_only)
        self.tokens = auth.load_tokens(None, folder)
        self.one, self.two = NodeAccounts(self), NodeAccounts(self)

    def unavailable(self) -> None:
        if self.lost:
            raise UnavailableError("PostgreSQL does not answer", retry_after_s=5)

    def pass_by(self, **duration: float) -> None:
        self.at += timedelta(**duration)

    async def login(self) -> accounts.Granted:
        return await self.one.service.login(self.user, PASSWORD, "here")

    async def rows(self, table: str) -> list[tuple[Any, ...]]:
        async with self.pool.connection() as connection:
            return await (await connection.execute(f"select * from {table}".encode())).fetchall()


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parameters of production have a test of their own."""
    monkeypatch.setattr(passwords, "MEMORY_KIB", 64)
    monkeypatch.setattr(passwords, "TIME_COST", 1)


@pytest.fixture
async def scene(cluster: kafka.Kafka, database: str, tmp_path: Path) -> AsyncIterator[Scene]:
    """A scene in which `scene.user` was made, with PASSWORD and the plan gold."""
    made = Scene(cluster, database, tmp_path)
    await made.pool.open()
    async with contextlib.AsyncExitStack() as closing:
        closing.push_async_callback(made.pool.close)
        running = []
        for node in (made.one, made.two):
            for part in (node.writer, node.verifier, node.table):
                closing.push_async_callback(part.close)
            await node.table.open()
            running.append(asyncio.create_task(node.table.run()))
        closing.push_async_callback(end, *running)
        await made.one.desk.create(made.user, PASSWORD, "gold")
        yield made
