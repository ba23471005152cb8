"""What system tests hold against each other: the source's account, the log, Postgres, the clients, the sheets."""

from typing import Any

from tests.support import oracle
from tests.support.clients import Client
from tests.support.feed import CARDS, SCORES, Source
from tests.support.nodes import NodeProcess
from tests.support.wait import until
from tests.system.conftest import Platform

PROVIDER = b'"source":"broadcast/wyscout"'


def provider_events(events: list[bytes]) -> list[bytes]:
    return [event for event in events if PROVIDER in event]


async def final(platform: Platform, node: NodeProcess, match_id: str) -> dict[str, Any]:
    """The match sheet, once it is final."""
    sheet: dict[str, Any] = {}

    async def is_final() -> bool:
        sheet.update(await platform.get(node, f"/v1/matches/{match_id}"))
        return bool(sheet["status"] == "final")

    await until(is_final, f"the final sheet of {match_id}")
    return sheet


async def stored(platform: Platform, match_id: str, count: int) -> list[bytes]:
    """The provider's events of a match in Postgres, in log order, once there are that many."""
    found: list[bytes] = []

    async def is_there() -> bool:
        found[:] = provider_events([b for _, _, b in (await oracle.history(platform.dsn)).get(match_id, [])])
        return len(found) >= count

    await until(is_there, f"{count} events of {match_id} in Postgres")
    return found


def check_sheet(sheet: dict[str, Any], name: str) -> None:
    score = sheet["home"]["score"], sheet["away"]["score"]
    cards = tuple((sheet[s]["yellow_cards"], sheet[s]["red_cards"]) for s in ("home", "away"))
    assert (score, cards) == (SCORES[name], CARDS[name])


async def no_backlog(platform: Platform) -> bool:
    return await oracle.backlog(platform.cluster, platform.partitions) == 0


async def everything(platform: Platform, *clients: Client) -> dict[str, list[bytes]]:
    """What Postgres has of each match, once every client has the same of all its channels, in the same order."""
    found: dict[str, list[bytes]] = {}

    async def same() -> bool:
        found.clear()
        found.update({m: [b for _, _, b in rows] for m, rows in (await oracle.history(platform.dsn)).items()})
        return all(
            got == found.get(channel.removeprefix("match:"), [])
            for one in clients
            for channel, got in one.events.items()
        )

    await until(same, "every client to have byte for byte what history has")
    return found


async def exactly_once(platform: Platform, source: Source, *clients: Client) -> None:
    """Every accepted event is on the log once, in Postgres once, and at each client once, in log order."""
    await until(lambda: no_backlog(platform), "the log to apply everything", 90)
    wanted = {i.replace("-", "") for ids in source.accepted.values() for i in ids}

    async def all_stored() -> bool:
        return await oracle.count(platform.dsn) >= len(wanted)

    await until(all_stored, "history to catch up", 90)
    await everything(platform, *clients)
    log = await oracle.read_log(platform.cluster, platform.partitions)
    assert log.backwards == 0
    assert {i for i, n in log.ids.items() if n > 1} == set(), "on the log twice"
    history = [i for rows in (await oracle.history(platform.dsn)).values() for _, i, _ in rows]
    assert len(history) == len(set(history)), "in history twice"
    for place, ids in (("the log", log.ids.keys()), ("history", set(history))):
        assert not wanted - ids, f"{len(wanted - ids)} of {len(wanted)} accepted events are missing in {place}"
    assert set(history) == set(log.ids)
    assert not any(one.resets for one in clients)
    assert all(recovered for one in clients for recovered in one.recovered)
