from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from eventhub.config import Settings, fields, load
from eventhub.errors import ConfigError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(environ: Mapping[str, str], **keys: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(config_file=None, environ=environ, flags=keys)
    return caught.value.detail.splitlines()


def test_nothing_given_is_the_development_profile_with_everything_embedded() -> None:
    settings = load(config_file=None, environ={"HOME": "/nowhere"}, flags={})
    assert settings == Settings()
    assert settings.profile == "development"
    assert settings.kafka.bootstrap_servers is None
    assert settings.postgres.dsn is None
    assert settings.http.port == 8000


def test_a_flag_beats_the_environment_which_beats_a_secret_file_which_beats_toml(folder: Path) -> None:
    (folder / "eventhub.toml").write_text(
        '[http]\nport = 1\nhost = "toml"\n[admin]\nport = 1\n[auth]\nsigning_key = "t"\n[stripe]\napi_key = "t"\n'
    )
    (folder / "key").write_text("from-file\n")
    environ = {
        "EVENTHUB_HTTP__PORT": "2",
        "EVENTHUB_ADMIN__PORT": "2",
        "EVENTHUB_AUTH__SIGNING_KEY_FILE": str(folder / "key"),
        "EVENTHUB_STRIPE__API_KEY_FILE": str(folder / "key"),
        "EVENTHUB_STRIPE__API_KEY": "from-environment",
    }
    settings = load(config_file=None, environ=environ, flags={"http.port": 3, "admin.port": None})
    assert (settings.http.port, settings.admin.port, settings.http.host) == (3, 2, "toml")
    assert settings.auth.signing_key == SecretStr("from-file")
    assert settings.stripe.api_key == SecretStr("from-environment")


def test_the_named_file_beats_the_variable_which_beats_the_file_in_the_folder(folder: Path) -> None:
    for number, name in enumerate(("eventhub.toml", "variable.toml", "named.toml"), start=1):
        (folder / name).write_text(f"[http]\nport = {number}\n")
    environ = {"EVENTHUB_CONFIG": str(folder / "variable.toml")}
    assert load(config_file=None, environ={}, flags={}).http.port == 1
    assert load(config_file=None, environ=environ, flags={}).http.port == 2
    assert load(config_file=folder / "named.toml", environ=environ, flags={}).http.port == 3


def test_lists_come_comma_separated_from_the_environment_and_as_lists_from_toml(folder: Path) -> None:
    (folder / "eventhub.toml").write_text('[http]\ntrusted_proxies = ["10.0.0.0/8"]\n')
    environ = {"EVENTHUB_STREAMS__FAMILIES": "history, aggregation", "EVENTHUB_STRIPE__WEBHOOK_SECRETS": "a,b"}
    settings = load(config_file=None, environ=environ, flags={})
    assert settings.http.trusted_proxies == ("10.0.0.0/8",)
    assert settings.streams.families == ("history", "aggregation")
    assert [secret.get_secret_value() for secret in settings.stripe.webhook_secrets] == ["a", "b"]


def test_everything_wrong_is_said_at_once_with_key_value_source_and_expectation(folder: Path) -> None:
    (folder / "eventhub.toml").write_text('[delivery]\nping_s = "often"\n[streams]\nfamilies = ["poetry"]\n')
    lines = refused({"EVENTHUB_KAFKA__PARTITIONS": "abc", "EVENTHUB_PROFILE": "staging"}, **{"http.port": 70000})
    assert len(lines) == 5
    text = "\n".join(lines)
    assert 'kafka.partitions = "abc" (env EVENTHUB_KAFKA__PARTITIONS): expected a valid integer' in text
    assert "profile = \"staging\" (env EVENTHUB_PROFILE): expected 'development' or 'production'" in text
    assert 'http.port = "70000" (flag): expected less than or equal to 65535' in text
    assert 'delivery.ping_s = "often" (file eventhub.toml): expected a valid number' in text
    assert "streams.families" in text


def test_unknown_keys_are_errors_that_name_the_nearest_known_key(folder: Path) -> None:
    (folder / "eventhub.toml").write_text("[kafka]\npartitons = 3\n[zzz]\nqqq = 1\n")
    lines = refused({"EVENTHUB_POSTGRES__DNS": "x", "OTHER_THING": "ignored"}, **{"http.prot": 1})
    assert len(lines) == 4
    text = "\n".join(lines)
    assert 'kafka.partitons (file eventhub.toml): unknown key; did you mean "kafka.partitions"?' in text
    assert 'EVENTHUB_POSTGRES__DNS): unknown key; did you mean "EVENTHUB_POSTGRES__DSN"?' in text
    assert 'http.prot (flag): unknown key; did you mean "http.port"?' in text
    assert "zzz.qqq (file eventhub.toml): unknown key" in text


def test_a_scalar_where_a_table_belongs_is_an_unknown_key(folder: Path) -> None:
    (folder / "eventhub.toml").write_text("kafka = 3\n")
    assert "kafka (file eventhub.toml): unknown key" in refused({})[0]


def test_no_error_holds_a_secret(folder: Path) -> None:
    (folder / "eventhub.toml").write_text('[auth]\nsigning_key = ["hunter2"]\n[postgres]\ndsn = 4711\n')
    text = "\n".join(refused({"EVENTHUB_KAFKA__PARTITIONS": "abc"}))
    assert "auth.signing_key = (hidden) (file eventhub.toml)" in text
    assert "postgres.dsn = (hidden)" in text
    assert "hunter2" not in text and "4711" not in text


def test_production_names_each_missing_part() -> None:
    lines = refused({"EVENTHUB_PROFILE": "production", "EVENTHUB_KAFKA__BOOTSTRAP_SERVERS": "k:9092"})
    assert [line.split()[0] for line in lines] == ["postgres.dsn", "auth.signing_key"]


def test_production_with_every_part_given_is_accepted() -> None:
    environ = {
        "EVENTHUB_PROFILE": "production",
        "EVENTHUB_KAFKA__BOOTSTRAP_SERVERS": "k:9092",
        "EVENTHUB_POSTGRES__DSN": "postgresql://db/eventhub",
        "EVENTHUB_AUTH__SIGNING_KEY": "key",
    }
    assert load(config_file=None, environ=environ, flags={}).profile == "production"


def test_a_file_that_is_missing_or_no_toml_is_named(folder: Path) -> None:
    (folder / "eventhub.toml").write_text("[[[")
    assert "eventhub.toml (configuration file): expected TOML" in refused({})[0]
    assert (
        "nothing.toml (configuration file): expected a readable file" in refused({"EVENTHUB_CONFIG": "nothing.toml"})[0]
    )
    lines = refused({"EVENTHUB_CONFIG": "nothing.toml", "EVENTHUB_AUTH__SIGNING_KEY_FILE": "no-key"})
    assert "auth.signing_key (env EVENTHUB_AUTH__SIGNING_KEY_FILE): expected a readable file, " in lines[1]


def test_settings_never_change_and_never_show_a_secret() -> None:
    settings = load(config_file=None, environ={"EVENTHUB_AUTH__SIGNING_KEY": "hunter2"}, flags={})
    with pytest.raises(ValidationError):
        setattr(settings.http, "port", 1)  # noqa: B010
    assert "hunter2" not in repr(settings)


def test_every_setting_is_described_and_has_one_variable() -> None:
    entries = list(fields())
    assert all(entry.description for entry in entries)
    assert len({entry.variable for entry in entries}) == len(entries)
    secrets = {entry.key for entry in entries if entry.secret}
    assert secrets == {
        "kafka.password",
        "postgres.dsn",
        "redis.url",
        "auth.signing_key",
        "auth.previous_keys",
        "influxdb.token",
        "openai.api_key",
        "stripe.api_key",
        "stripe.webhook_secrets",
    }
