"""The document against a whole node on real Kafka and PostgreSQL: the same routes, and whatever is sent to them by a
fuzzer, the answer is one of the document's.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from pydantic import SecretStr
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks
from starlette.routing import Route

from eventhub import __version__, app, documents, streams
from eventhub.config import Kafka, Postgres, Settings
from eventhub.documents.operations import OPERATIONS
from tests.support import oracle
from tests.support.nodes import NodeProcess
from tests.support.wait import until
from tests.system.conftest import Platform

EXAMPLES = 12
MATCH = "fuzzed"
HOME, AWAY = {"id": "h", "name": "Home"}, {"id": "a", "name": "Away"}
AS_DOCUMENTED = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
REFUSES_WHAT_IS_WRONG = [*AS_DOCUMENTED, checks.negative_data_rejection]
Change = Callable[[Any], Any]


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with shapes that allow nothing more: a field that it does not tell is a difference too."""
    for shape in document["components"]["schemas"].values():
        shape["additionalProperties"] = False
    return document


class Fuzzer:
    """Sends cases of the document's operations with the right keys, and keeps the statuses of the answers."""

    def __init__(self, url: str, keys: dict[str, str], document: dict[str, Any]) -> None:
        self.statuses: dict[str, set[int]] = {}
        self._url, self._keys = url, keys
        schema = schemathesis.openapi.from_dict(closed(document))
        found: list[Any] = list(schema.get_all_operations())
        self._operations = {one.ok().definition.raw["operationId"]: one.ok() for one in found}

    def right(self, name: str, change: Change = lambda case: case, **fixed: Any) -> None:
        """Cases as the document wants them; `fixed` are parts that are given, `change` changes a case."""
        self._run(name, GenerationMode.POSITIVE, change, AS_DOCUMENTED, fixed)

    def wrong(self, name: str, allowed: list[Any] = REFUSES_WHAT_IS_WRONG, **fixed: Any) -> None:
        """Cases as the document forbids them, but for the key."""
        self._run(name, GenerationMode.NEGATIVE, lambda case: case, allowed, fixed)

    def _run(self, name: str, mode: GenerationMode, change: Change, wanted: list[Any], fixed: dict[str, Any]) -> None:
        operation = self._operations[name]
        security = operation.definition.raw["security"]
        headers = {"Authorization": f"Bearer {self._keys[next(iter(security[0]))]}"} if security else {}
        strategy = operation.as_strategy(generation_mode=mode, **{"headers": headers, **fixed})

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy.map(change))
        def send(case: Any) -> None:
            answer = case.call(base_url=self._url, headers=headers)
            self.statuses.setdefault(name, set()).add(answer.status_code)
            case.validate_response(answer, checks=wanted)

        send()


def about_the_match(case: Any) -> Any:
    """Events of a match that is declared, of now, so that many of them go all the way."""
    for item in case.body if isinstance(case.body, list) else [case.body]:
        if isinstance(item, dict):
            item |= {"match_id": MATCH, "occurred_at": datetime.now(UTC).isoformat(), "team_id": "h"}
    return case


def two_sides(case: Any) -> Any:
    """A match between two sides, and players of one of them."""
    if isinstance(case.body, dict):
        case.body |= {"home": HOME, "away": AWAY, "starts_at": datetime.now(UTC).isoformat()}
        for player in case.body.get("players", []):
            player["team_id"] = "h"
    return case


def everything(fuzzer: Fuzzer) -> None:
    """All operations, right and wrong; about a match that is there, and about any."""
    match, source = {"match_id": MATCH}, {"source": "broadcast"}
    fuzzer.right("declareMatch")
    fuzzer.right("declareMatch", two_sides)
    fuzzer.right("declareMatch", two_sides, path_parameters=match)
    fuzzer.wrong("declareMatch")
    fuzzer.right("ingest")
    fuzzer.right("ingest", about_the_match, path_parameters=source, query={})
    # One item that is right is enough for 202, so what is wrong in others shows only in the answer's list.
    fuzzer.wrong("ingest", AS_DOCUMENTED, path_parameters=source)
    fuzzer.right("ingestProvider")
    fuzzer.right("ingestProvider", path_parameters={**source, "provider": "wyscout"}, query=match)
    fuzzer.wrong("ingestProvider", AS_DOCUMENTED, path_parameters={**source, "provider": "wyscout"})
    fuzzer.right("getIngestStatus")
    for name in ("getMatch", "listEvents"):
        fuzzer.right(name)
        fuzzer.right(name, path_parameters=match)
    fuzzer.right("listEvents", path_parameters=match, query={})
    fuzzer.wrong("listEvents", path_parameters=match)
    fuzzer.right("listMatches")
    fuzzer.wrong("listMatches")
    fuzzer.right("getOpenApi")
    for name in ("login", "refresh", "logout"):
        fuzzer.right(name)
        fuzzer.wrong(name, AS_DOCUMENTED)
    fuzzer.right("getKeys")


async def test_the_document_names_exactly_the_routes_of_a_node(platform: Platform, tmp_path: Path) -> None:
    kafka = Kafka(bootstrap_servers=platform.services.addresses.kafka, replication=1, partitions=platform.partitions)
    given = Settings(data_dir=tmp_path, kafka=kafka, postgres=Postgres(dsn=SecretStr(platform.dsn)))
    addresses = platform.services.addresses._replace(postgres=platform.dsn)
    async with app.node(given, addresses, streams.Slot(tmp_path), None) as running:
        routes = [route for route in running.app.routes if isinstance(route, Route)]
    served = {(method, route.path) for route in routes for method in (route.methods or set()) - {"HEAD"}}
    wanted = {
        (method, path)
        for method, path in served
        if path.startswith("/v1/") or path in ("/openapi.json", "/asyncapi.json")
    }
    assert {(one.method, one.path) for one in OPERATIONS} == wanted


@pytest.mark.timeout(300)
async def test_every_answer_is_one_of_the_document(node: NodeProcess, platform: Platform) -> None:
    keys = {
        "ingestKey": platform.broadcast_key,
        "adminKey": platform.admin_key,
        "accessToken": platform.token(),
    }
    fuzzer = Fuzzer(node.url, keys, documents.document(__version__))
    async with httpx2.AsyncClient(base_url=node.url) as http:
        body = {"home": HOME, "away": AWAY, "starts_at": datetime.now(UTC).isoformat()}
        admin = {"Authorization": f"Bearer {platform.admin_key}"}
        assert (await http.put(f"/v1/matches/{MATCH}", json=body, headers=admin)).status_code == 201
    await asyncio.to_thread(everything, fuzzer)

    told = fuzzer.statuses
    assert {200, 201, 400} <= told["declareMatch"]
    assert {202, 422} <= told["ingest"]
    assert {200, 404} <= told["listEvents"]
    assert {200, 400} <= told["listMatches"]
    assert {400, 401} <= told["login"] and {400, 401} <= told["refresh"] and {204, 400} <= told["logout"]
    assert told["getKeys"] == {200}

    async def nothing_waits() -> bool:
        return await oracle.backlog(platform.cluster, platform.partitions) == 0

    await until(nothing_waits, "what was accepted to be on the log", 30)
    page = await platform.get(node, f"/v1/matches/{MATCH}/events?limit=1000")
    assert any(item["source"] == "broadcast" for item in page["items"])

    untrue = documents.document(__version__)
    sheet = untrue["components"]["schemas"]["MatchSheet"]
    del sheet["properties"]["stale"]
    sheet["required"].remove("stale")
    mutant = Fuzzer(node.url, keys, untrue)
    with pytest.raises(FailureGroup):
        await asyncio.to_thread(mutant.right, "getMatch", path_parameters={"match_id": MATCH})
