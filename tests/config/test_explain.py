"""`explain` tells the same settings as `load`, with where each comes from and without a secret."""

from pathlib import Path

import pytest

from eventhub.config import Effective, explain, fields, load
from eventhub.errors import ConfigError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def explained(environ: dict[str, str] | None = None, **flags: object) -> dict[str, Effective]:
    return {e.key: e for e in explain(config_file=None, environ=environ or {}, flags=flags)}


def test_every_setting_is_told_once_in_the_order_of_the_tree() -> None:
    told = explain(config_file=None, environ={}, flags={})
    assert [e.key for e in told] == [entry.key for entry in fields()]
    assert {e.source for e in told} == {"default"}


def test_the_source_is_the_one_that_wins(folder: Path) -> None:
    (folder / "eventhub.toml").write_text('[http]\nport = 1\nhost = "toml"\n[admin]\nport = 1\n')
    (folder / "key").write_text("from-file\n")
    environ = {"EVENTHUB_ADMIN__PORT": "2", "EVENTHUB_STRIPE__API_KEY_FILE": "key", "EVENTHUB_HTTP__PORT": "2"}
    told = explained(environ, **{"http.port": 3, "admin.host": None})
    assert told["http.port"] == Effective("http.port", 3, "flag", False)
    assert told["admin.port"] == Effective("admin.port", 2, "env EVENTHUB_ADMIN__PORT", False)
    assert told["http.host"] == Effective("http.host", "toml", "file eventhub.toml", False)
    assert told["stripe.api_key"] == Effective("stripe.api_key", "(set)", "secret file key", True)
    assert told["admin.host"] == Effective("admin.host", "127.0.0.1", "default", False)


def test_values_are_told_as_they_hold_and_not_as_they_were_written() -> None:
    told = explained({"EVENTHUB_KAFKA__PARTITIONS": "12", "EVENTHUB_STREAMS__FAMILIES": "history, enrichment"})
    assert told["kafka.partitions"].value == 12
    assert told["streams.families"].value == ["history", "enrichment"]
    assert told["data_dir"].value == ".eventhub"
    assert told["spool.durable"].value is None


def test_of_a_secret_only_whether_it_is_set_is_told() -> None:
    environ = {entry.variable: "postgresql://ann:hunter2@db/x" for entry in fields() if entry.secret}
    told = explained(environ)
    assert {told[entry.key].value for entry in fields() if entry.secret} == {"(set)"}
    assert {e.value for e in explained().values() if e.secret} == {"(unset)"}
    assert "hunter2" not in repr(told)


def test_a_password_in_an_address_that_is_no_secret_is_hidden_here_and_in_errors() -> None:
    told = explained({"EVENTHUB_INFLUXDB__URL": "https://ann:hunter2@influx:8086/x"})
    assert told["influxdb.url"].value == "https://(hidden)@influx:8086/x"
    with pytest.raises(ConfigError) as caught:
        load(config_file=None, environ={"EVENTHUB_HTTP__PORT": "http://ann:hunter2@host"}, flags={})
    assert "hunter2" not in caught.value.detail and "(hidden)@host" in caught.value.detail


def test_what_load_refuses_explain_refuses_in_the_same_words() -> None:
    environ = {"EVENTHUB_HTP__PORT": "1", "EVENTHUB_KAFKA__PARTITIONS": "0"}
    with pytest.raises(ConfigError) as loading:
        load(config_file=None, environ=environ, flags={})
    with pytest.raises(ConfigError) as explaining:
        explain(config_file=None, environ=environ, flags={})
    assert explaining.value.detail == loading.value.detail


def test_the_variable_that_shows_tracebacks_is_no_unknown_setting() -> None:
    assert explained({"EVENTHUB_DEBUG": "1"})["profile"].source == "default"
