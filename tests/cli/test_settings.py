"""`config show` and `config defaults` as a person and as a script use them."""

import json
import re
from pathlib import Path

from eventhub.config import fields
from tests.cli.process import run


def test_settings_are_shown_in_columns_grouped_by_section_with_their_source(tmp_path: Path) -> None:
    (tmp_path / "eventhub.toml").write_text("[http]\nport = 81\n[spool]\ndurable = true\n")
    shown = run("config", "show", cwd=tmp_path, EVENTHUB_KAFKA__PARTITIONS="4")
    assert shown.returncode == 0
    rows = shown.stdout.splitlines()
    words = [re.split("  +", row) for row in rows]
    assert ["http.port", "81", "file eventhub.toml"] in words
    assert ["kafka.partitions", "4", "env EVENTHUB_KAFKA__PARTITIONS"] in words
    assert ["spool.durable", "true", "file eventhub.toml"] in words
    assert ["http.trusted_proxies", "(none)", "default"] in words
    assert ["streams.snapshot_s", "60", "default"] in words
    assert len({row.index(word[2]) for row, word in zip(rows, words, strict=True) if row}) == 1
    before = rows[rows.index(next(row for row in rows if row.startswith("http."))) - 1]
    assert before == ""


def test_as_json_every_setting_comes_with_its_type_source_and_whether_it_is_secret(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hunter2")
    shown = run(
        "config", "show", "--json", "--data-dir", "d", cwd=tmp_path, EVENTHUB_STRIPE__API_KEY_FILE=str(tmp_path / "key")
    )
    told = {setting["key"]: setting for setting in json.loads(shown.stdout)}
    assert list(told) == [entry.key for entry in fields()]
    assert told["data_dir"] == {"key": "data_dir", "value": "d", "source": "flag", "secret": False}
    assert told["stripe.api_key"]["value"] == "(set)"
    assert told["stripe.api_key"]["source"] == f"secret file {tmp_path / 'key'}"
    assert told["postgres.dsn"] == {"key": "postgres.dsn", "value": "(unset)", "source": "default", "secret": True}
    assert told["kafka.bootstrap_servers"]["value"] is None
    assert "hunter2" not in shown.stdout + shown.stderr


def test_wrong_settings_are_told_and_nothing_is_shown(tmp_path: Path) -> None:
    refused = run("config", "show", cwd=tmp_path, EVENTHUB_HTTP__PORT="many", EVENTHUB_HTP__PORT="1")
    assert (refused.returncode, refused.stdout) == (78, "")
    assert 'http.port = "many"' in refused.stderr and "EVENTHUB_HTTP__PORT" in refused.stderr


def test_the_printed_defaults_are_a_settings_file(tmp_path: Path) -> None:
    (tmp_path / "all.toml").write_text(run("config", "defaults", cwd=tmp_path).stdout, encoding="utf-8")
    shown = run("config", "show", "--json", "--config", "all.toml", cwd=tmp_path)
    plain = run("config", "show", "--json", cwd=tmp_path)
    values = [[(s["key"], s["value"]) for s in json.loads(told.stdout)] for told in (shown, plain)]
    assert values[0] == values[1]
    assert "file all.toml" in shown.stdout and "file all.toml" not in plain.stdout


def test_what_a_terminal_would_obey_is_not_printed(tmp_path: Path) -> None:
    shown = run("config", "show", cwd=tmp_path, EVENTHUB_INFLUXDB__ORG="a\x1b[2Jb")
    assert "\x1b" not in shown.stdout
