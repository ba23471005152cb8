"""The file that `config defaults` prints is the defaults, and names every setting."""

import re
import tomllib
from pathlib import Path

import pytest

from eventhub.config import Settings, explain, fields, load, template
from eventhub.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "defaults.toml"
    path.write_text(template(), encoding="utf-8")
    return path


def uncommented(text: str) -> str:
    return re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)


def test_it_loads_as_the_defaults(file: Path) -> None:
    assert load(config_file=file, environ={}, flags={}) == Settings()


def test_what_is_not_commented_out_comes_from_the_file(file: Path) -> None:
    told = {e.key: e.source for e in explain(config_file=file, environ={}, flags={})}
    unset = {entry.key for entry in fields() if entry.default is None or entry.secret} | {"http.port", "admin.port"}
    assert {key for key, source in told.items() if source == "default"} == unset


def test_ports_stay_free_to_move_so_that_two_nodes_may_share_the_file(file: Path) -> None:
    loaded = load(config_file=file, environ={}, flags={})
    assert "port" not in loaded.http.model_fields_set
    assert "port" not in loaded.admin.model_fields_set


def test_every_setting_is_in_it_with_its_meaning_once_its_comment_sign_is_taken_away() -> None:
    tree = tomllib.loads(uncommented(template()))
    keys = {
        f"{name}.{inner}" if isinstance(value, dict) else name
        for name, value in tree.items()
        for inner in (value if isinstance(value, dict) else [""])
    }
    assert keys == {entry.key for entry in fields()}
    for entry in fields():
        assert template().count(f"# {entry.description}") >= 1


def test_no_line_sets_a_secret() -> None:
    tree = tomllib.loads(template())
    for entry in fields():
        section, _, name = entry.key.rpartition(".")
        assert not entry.secret or name not in tree.get(section, {})


def test_an_example_that_was_left_as_it_is_says_so_in_time(tmp_path: Path) -> None:
    whole = tmp_path / "whole.toml"
    whole.write_text(uncommented(template()).replace('sasl_mechanism = "PLAIN"', 'sasl_mechanism = "…"'))
    with pytest.raises(ConfigError, match="sasl_mechanism"):
        load(config_file=whole, environ={}, flags={})
