"""The house: small files that say what they are, and one table for each thing."""

import ast
import re
from pathlib import Path

import pytest

from eventhub import events, topics

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "eventhub").rglob("*.py"))
LONGEST = 350


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_short_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LONGEST
    assert ast.get_docstring(ast.parse(text)), "a module's docstring says which step of the path it is"


def test_the_median_file_is_about_120_lines() -> None:
    lengths = sorted(path.read_text().count("\n") for path in FILES)
    assert lengths[len(lengths) // 2] <= 150


def test_no_other_file_lists_topics() -> None:
    names = re.compile("|".join(f'"{name}"' for name in topics.TOPICS))
    named = [p.name for p in FILES if p.name != "topics.py" and names.search(p.read_text())]
    assert named == []


def test_every_type_has_a_lane_an_effect_and_a_source() -> None:
    for kind in events.TYPES.values():
        assert kind.lane in ("critical", "normal", "bulk")
        assert kind.sources
    assert {t for t, k in events.TYPES.items() if k.lane == "critical"} == {
        "goal",
        "own_goal",
        "red_card",
        "second_yellow_card",
        "yellow_card",
        "penalty_awarded",
        "var_review",
        "substitution",
        "period_start",
        "period_end",
        "match_end",
    }


@pytest.mark.parametrize(
    ("period", "clock_s", "said"),
    [
        ("first_half", 0, "1"),
        ("first_half", 59.9, "1"),
        ("first_half", 60, "2"),
        ("first_half", 2700, "45+1"),
        ("first_half", 2819, "45+2"),
        ("second_half", 2700, "46"),
        ("second_half", 5400, "90+1"),
        ("first_half_extratime", 5400, "91"),
        ("second_half_extratime", 7200, "120+1"),
        ("shootout", 7300, None),
        (None, 5, None),
    ],
)
def test_the_minute_is_how_people_say_it(period: str | None, clock_s: float, said: str | None) -> None:
    assert events.minute(period, clock_s) == said


def test_a_lock_file_has_versions_and_hashes_and_no_addresses() -> None:
    for lock in (ROOT / "requirements.lock", ROOT / "eventhub" / "embedded" / "kafka-jars.lock"):
        text = lock.read_text()
        assert "://" not in text
        assert re.search(r"[0-9a-f]{64}", text)
