"""The pages of docs/reference are what the code says now."""

from pathlib import Path

import pytest

from eventhub import config, errors, events, topics
from eventhub.documents.__main__ import write
from eventhub.documents.reference import pages

FOLDER = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_page_is_up_to_date(name: str) -> None:
    assert (FOLDER / name).read_text() == pages()[name], "run make docs"


def test_nothing_else_lies_among_the_pages() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(pages())


def test_the_command_writes_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "made")
    assert {path.name: path.read_text() for path in (tmp_path / "made").iterdir()} == pages()


def test_every_row_of_the_tables_in_code_has_its_row() -> None:
    made = pages()
    for entry in config.fields():
        assert f"| `{entry.key}` " in made["settings.md"]
        assert f"| `{entry.variable}` " in made["settings.md"]
    assert all(f"| `{name}` " in made["events.md"] for name in (*events.TYPES, *events.PERIODS))
    assert all(f"| `{name}` " in made["topics.md"] for name in topics.TOPICS)
    assert all(f"| `{code}` " in made["errors.md"] for code in errors.ITEM_CODES)


def test_a_secret_is_marked_and_no_other_setting_is() -> None:
    lines = pages()["settings.md"].splitlines()
    for entry in config.fields():
        row = next(line for line in lines if line.startswith(f"| `{entry.key}` "))
        assert ("**secret**" in row) == entry.secret


def test_the_columns_of_every_table_are_aligned() -> None:
    for name, text in pages().items():
        for block in text.split("\n\n"):
            if block.startswith("|"):
                assert len({len(line) for line in block.splitlines()}) == 1, f"{name}: {block[:80]}"
