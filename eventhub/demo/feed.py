"""Makes the told match as imperfect as real feeds: late, doubled and revised records. Pure.

Goals that are taken back and cards of the wrong player are the story's own. All of it stays within the admission
windows: broadcast is taken until hours after the match.
"""

import random

from eventhub.demo.items import Item
from eventhub.demo.pitch import spot

LATE, TWICE, REVISED = 0.01, 0.01, 0.005
LATE_S, TWICE_S, REVISED_S = (5, 40), (1, 60), (5, 90)
ORDINARY = ("pass", "carry", "duel")


def imperfect(rng: random.Random, items: list[Item]) -> list[Item]:
    """The items with some ordinary ones late, sent twice, or revised; in no order."""
    told_again = {i.event["source_event_id"] for i in items if i.event.get("revision")}
    ordinary = [i for i in items if i.event["type"] in ORDINARY and i.event["source_event_id"] not in told_again]
    late = set(map(id, rng.sample(ordinary, round(len(ordinary) * LATE))))
    sent = [i._replace(due_s=i.due_s + rng.uniform(*LATE_S)) if id(i) in late else i for i in items]
    for item in rng.sample(ordinary, round(len(ordinary) * TWICE)):
        sent.append(item._replace(due_s=item.due_s + rng.uniform(*TWICE_S)))
    measured = [i for i in ordinary if id(i) not in late and "end_x" in i.event["payload"]]
    for item in rng.sample(measured, round(len(ordinary) * REVISED)):
        payload = item.event["payload"]
        end_x, _ = spot(payload["end_x"] + rng.choice((-2, -1, 1, 2)), 0)
        again = item.event | {"revision": 1, "action": "update", "payload": payload | {"end_x": end_x}}
        sent.append(Item(item.due_s + rng.uniform(*REVISED_S), "broadcast", again))
    return sent
