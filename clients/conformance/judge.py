"""What a client did, beside what the scenario says."""

from collections.abc import Iterable, Sequence
from typing import Any

from clients.conformance.node import Played
from clients.conformance.scenarios import Scenario
from clients.conformance.steps import Json

EARLY_MS = 5
"""What a timer may be early by."""


def runs(url: str, scenarios: Sequence[Scenario], timeout_s: float) -> list[Json]:
    """What a driver is told to do: one run for each scenario, which a node plays at its number."""
    return [
        {
            "run": n,
            "url": f"{url}/{n}",
            "subscribe": one.subscribe,
            "view": one.view,
            "life_s": one.life_s,
            "timeout_s": timeout_s,
        }
        for n, one in enumerate(scenarios)
    ]


def wrong(played: Played, said: Iterable[Json]) -> list[str]:
    """Everything in which a client was not as the scenario has it."""
    scenario, found = played.scenario, list(played.complaints)
    received = tuple(_short(message) for message in said)
    if received != scenario.received:
        found.append(f"it was handed {received}, and not {scenario.received}")
    asked = tuple(one.channels for one in played.asked)
    if asked != scenario.asked:
        found.append(f"it asked for {asked}, and not for {scenario.asked}")
    elif len(asked) > 1 and scenario.apart_ms:
        apart_ms = (played.asked[1].at - played.asked[0].at) * 1000
        if apart_ms < scenario.apart_ms - EARLY_MS:
            found.append(f"it came again after {apart_ms:.0f} ms, and not {scenario.apart_ms}")
    if any(one.view != scenario.view for one in played.asked):
        found.append(f"it asked for the views {[one.view for one in played.asked]}, and not for {scenario.view}")
    if len(set(played.tokens)) != len(played.tokens):
        found.append(f"it used a token twice: {played.tokens}")
    return found


def _short(message: Json) -> str:
    place = str(message.get("cursor", "")).rpartition(".")[2]
    told: dict[str, Any] = {"event_id": "", **message, **message.get("event", {}), "place": place}
    forms = {
        "event": "event {event_id} @{place}",
        "state": "state @{place}",
        "reset": "reset {reason} @{place}",
        "skipped": "skipped {count}",
        "notice": "notice {mode}",
        "closed": "closed {code}",
        "refused": "refused {code} {channel}",
    }
    return forms.get(message["type"], "{type}").format(**told)
