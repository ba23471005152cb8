"""What only operators need to know: they see it, and clients are told nothing."""

import asyncio
from datetime import UTC, datetime

import pytest

from eventhub import degradation
from eventhub.degradation import ForOperators
from eventhub.delivery import Notices
from eventhub.delivery.frame import Frame
from eventhub.tasks import end
from tests.support.wait import until

NOW = datetime(2026, 6, 1, tzinfo=UTC)


async def redis_goes_and_comes() -> None:
    told: list[Frame] = []
    clients = Notices(told.append)
    operators = ForOperators(clients)
    away: list[str] = []
    watching = asyncio.create_task(
        degradation.watch(degradation.redis(lambda: away[0] if away else None), operators, lambda: NOW)
    )
    try:
        assert (operators.mode, dict(operators.causes)) == ("normal", {})
        away.append("TimeoutError")
        await until(lambda: operators.causes, "operators to see it", 5)
        reason = operators.causes["redis"].reason
        assert "TimeoutError" in reason and "redis.url" in reason
        assert operators.mode == "degraded" and operators.causes["redis"].since == NOW
        assert (clients.mode, told) == ("normal", []), "clients were told of what changes nothing for them"
        clients.enter("mode", ("writes",), NOW, "upgrade")
        assert (operators.mode, sorted(operators.causes)) == ("read_only", ["mode", "redis"])
        away.clear()
        await until(lambda: "redis" not in operators.causes, "the end of it", 5)
        assert len(told) == 1
    finally:
        await end(watching)


async def test_operators_see_that_redis_is_away_and_clients_are_told_nothing() -> None:
    await redis_goes_and_comes()


async def test_mutant_clients_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    enter = ForOperators.enter

    def loud(self: ForOperators, cause: str, affected: tuple[str, ...], since: datetime, reason: str) -> None:
        enter(self, cause, affected, since, reason)
        self._told.enter(cause, affected, since, reason)  # type: ignore[attr-defined]

    monkeypatch.setattr(ForOperators, "enter", loud)
    with pytest.raises(AssertionError, match="clients were told"):
        await redis_goes_and_comes()
