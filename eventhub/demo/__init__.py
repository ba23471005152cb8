"""The generated match: seeded, plausible, with everything that makes football hard to count. Pure.

The product ships nobody's data but this. `serve --demo` plays it through the node's own HTTP routes.
"""

from eventhub.demo.items import Demo, Item, Result, Told
from eventhub.demo.live import run
from eventhub.demo.play import body, play
from eventhub.demo.script import generate

__all__ = ["Demo", "Item", "Result", "Told", "body", "generate", "play", "run"]
