"""`python -m benchmarks.switch`: how long until the operators' switch holds on two nodes, against the limit of 1 s.

Each round sets read-only at one node's admin port and asks both for an operator's write until they refuse it; then
back. Notices are timed at a client of each node.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2

from benchmarks.platform import Platform, platform
from tests.support.clients import Client
from tests.support.nodes import NodeProcess, running

LIMIT_S = 1.0
ROUNDS = 10
MATCH = {"home": {"id": "h", "name": "H"}, "away": {"id": "a", "name": "A"}, "starts_at": "2026-07-01T19:00:00Z"}


async def measure(on: Platform, rounds: int) -> dict[str, list[float]]:
    """Seconds from the change's request to what each node does."""
    found: dict[str, list[float]] = {"refused_s": [], "taken_s": [], "notice_s": []}
    with tempfile.TemporaryDirectory(prefix="eventhub-bench-") as folder:
        environ = {
            "EVENTHUB_KAFKA__BOOTSTRAP_SERVERS": on.services.addresses.kafka,
            "EVENTHUB_KAFKA__REPLICATION": "1",
            "EVENTHUB_POSTGRES__DSN": on.services.addresses.postgres,
        }
        other = NodeProcess("other", Path(folder), environ, shared=on.node.folder)
        async with running(other), httpx2.AsyncClient(timeout=10) as http:
            async with Client([on.node.url], on.token) as one, Client([other.url], on.token) as two:
                await until(lambda: ready(one, two))
                for _ in range(rounds):
                    for mode in ("read_only", "normal"):
                        await change(on, other, http, mode, [one, two], found)
    return found


async def change(
    on: Platform,
    other: NodeProcess,
    http: httpx2.AsyncClient,
    mode: str,
    clients: list[Client],
    found: dict[str, list[float]],
) -> None:
    """One change, until both nodes act by it and both clients were told."""
    loop = asyncio.get_running_loop()
    seen = [len(client.notices) for client in clients]
    wanted = 503 if mode == "read_only" else 200
    started = loop.time()

    async def acts(node: NodeProcess) -> None:
        headers = {"Authorization": f"Bearer {on.admin_key}"}
        while True:
            answer = await http.put(f"{node.url}/v1/matches/switch", json=MATCH, headers=headers)
            if answer.status_code == wanted or (wanted == 200 and answer.status_code == 201):
                found["refused_s" if wanted == 503 else "taken_s"].append(loop.time() - started)
                return

    async def ask() -> None:
        body = {"mode": mode, "reason": "benchmark"}
        (await http.put(f"{on.node.admin_url}/v1/admin/mode", json=body, headers={"If-Match": "*"})).raise_for_status()

    await asyncio.gather(ask(), acts(on.node), acts(other))
    for client, before in zip(clients, seen, strict=True):
        await until(lambda client=client, before=before: told(client, before))  # type: ignore[misc]
        found["notice_s"].append(client.notices[before][0] - started)


async def ready(*clients: Client) -> bool:
    return all(client.connects for client in clients)


async def told(client: Client, before: int) -> bool:
    return len(client.notices) > before


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait at most 30 s."""
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.002)


async def run(rounds: int) -> dict[str, object]:
    async with platform() as on:
        found = await measure(on, rounds)
    return {
        "rounds": rounds,
        "limit_s": LIMIT_S,
        **{
            name: {"median": round(statistics.median(values), 3), "max": round(max(values), 3), "n": len(values)}
            for name, values in found.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    result = asyncio.run(run(given.rounds))
    if given.json:
        print(json.dumps(result))
        return
    print(f"{result['rounds']} changes each way on two nodes, limit {LIMIT_S} s")
    for name in ("refused_s", "taken_s", "notice_s"):
        print(f"{name:>10}: {result[name]}")


if __name__ == "__main__":
    main()
