"""The figures as a picture: for each load a group of bars, CPU a delivery and p99 side by side."""

from collections.abc import Sequence
from html import escape
from typing import Any

ROW, GROUP, LEFT, HALF, TOP = 18, 14, 150, 330, 46
COLOURS = {
    "eventhub": "#1f7a4d",
    "raw-write": "#8a8a8a",
    "centrifuge": "#3b6ea8",
    "centrifuge-delay": "#7aa5d2",
    "socketio": "#b5763a",
}
PANELS = (("us_per_delivery", "µs of CPU a delivery"), ("p99_ms", "p99, ms"))
MOST = 4.0
"""Times the product's bar beyond which a bar is cut, and says so."""


def svg(runs: Sequence[dict[str, Any]], caption: str) -> str:
    """A picture of every load that has deliveries. Pure."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        if run["us_per_delivery"]:
            groups.setdefault(f"{run['load']}: {run['sockets']:,} sockets, {run['rate']:,} messages/s", []).append(run)
    parts, y = [], TOP
    for title, rows in groups.items():
        parts.append(_text(4, y + 12, title, weight="bold"))
        y += ROW
        for row in rows:
            parts.append(_text(LEFT - 8, y + 12, row["name"], anchor="end"))
            for panel, (key, _) in enumerate(PANELS):
                parts += _bar(LEFT + panel * HALF, y, row, key, rows)
            y += ROW
        y += GROUP
    heads = [_text(LEFT + panel * HALF, 34, label, weight="bold") for panel, (_, label) in enumerate(PANELS)]
    width = LEFT + 2 * HALF
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" font-family="sans-serif" font-size="12">'
    ground = f'<rect width="{width}" height="{y}" fill="#ffffff"/>'
    return "\n".join([head, ground, _text(4, 16, caption), *heads, *parts, "</svg>", ""])


def _bar(x: int, y: int, row: dict[str, Any], key: str, rows: Sequence[dict[str, Any]]) -> list[str]:
    own = next((one[key] for one in rows if one["name"] == "eventhub"), max(one[key] for one in rows))
    share = min(row[key] / own / MOST, 1.0)
    width = max(1, round(share * (HALF - 90)))
    cut = " (cut)" if row[key] > own * MOST else ""
    figure = f"{row[key]:,.2f}" if row[key] < 100 else f"{row[key]:,.0f}"
    colour = COLOURS.get(row["name"], "#555555")
    return [
        f'<rect x="{x}" y="{y + 2}" width="{width}" height="{ROW - 5}" fill="{colour}"/>',
        _text(x + width + 5, y + 12, figure + cut),
    ]


def _text(x: int, y: int, words: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-weight="{weight}" fill="#222222">{escape(words)}</text>'
