"""Every setting with its type, unit, default and meaning, in one frozen tree."""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

MIB = 1 << 20

Family = Literal["enrichment", "history", "aggregation"]
Algorithm = Literal["RS256", "ES256", "EdDSA"]
SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]


def _split(value: object) -> object:
    """A text from the environment as a list: parts between commas, without blanks."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _tables(value: object) -> object:
    """A text from the environment as a list of tables, written in JSON."""
    return json.loads(value) if isinstance(value, str) else value


def _table(value: object) -> object:
    """A text from the environment as a table: `free=30,pro=5`."""
    return dict(part.partition("=")[::2] for part in _split(value)) if isinstance(value, str) else value  # type: ignore[attr-defined]


Texts = Annotated[tuple[str, ...], BeforeValidator(_split)]
Families = Annotated[tuple[Family, ...], BeforeValidator(_split)]
Secrets = Annotated[tuple[SecretStr, ...], BeforeValidator(_split)]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Delay = Annotated[float, Field(ge=0, le=3600)]
Delays = Annotated[tuple[Delay, ...], BeforeValidator(_split)]
DelayByPlan = Annotated[dict[str, Delay], BeforeValidator(_table)]


class Section(BaseModel):
    """A table of settings; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Http(Section):
    """The external port."""

    host: str = Field(default="127.0.0.1", description="Address that the external port binds to.")
    port: Port = Field(
        default=8000, description="External port: HTTP, WebSocket. Unset: the next free one from 8000. 0: any."
    )
    trusted_proxies: Texts = Field(default=(), description="Networks (CIDR) whose X-Forwarded-For is believed.")
    allowed_origins: Texts = Field(
        default=(),
        description="Origins (https://host) of web pages that may open the stream; the node's own always may.",
    )


class Admin(Section):
    """The internal port; never public."""

    host: str = Field(default="127.0.0.1", description="Address that the admin port binds to.")
    port: Port = Field(
        default=9000, description="Admin port: health, metrics, mode. Unset: the next free one from 9000. 0: any."
    )


class Kafka(Section):
    """The log."""

    bootstrap_servers: str | None = Field(
        default=None,
        min_length=1,
        description="Kafka's addresses, host:port, comma-separated. Unset: an embedded broker.",
    )
    partitions: Count = Field(default=8, description="Partitions of every partitioned topic; fixed at creation.")
    replication: Count = Field(
        default=3, description="Replicas of every topic on a given cluster; an embedded broker has one."
    )
    security_protocol: SecurityProtocol = Field(default="PLAINTEXT", description="How to talk to Kafka.")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        default=None, description="SASL mechanism, with a SASL_* security protocol."
    )
    username: str | None = Field(default=None, description="SASL user name.")
    password: SecretStr | None = Field(default=None, description="SASL password.")
    ca_file: Path | None = Field(
        default=None, description="PEM file of the authority that signed the brokers' certificates."
    )


class Postgres(Section):
    """History, accounts, the outbox."""

    dsn: SecretStr | None = Field(
        default=None,
        min_length=1,
        description="PostgreSQL's address (DSN, may hold a password). Unset: an embedded server.",
    )


class Redis(Section):
    """What nodes count together."""

    url: SecretStr | None = Field(
        default=None,
        min_length=1,
        description="Redis or Valkey, redis://… (may hold a password). Unset in development: an embedded Valkey beside"
        " an embedded Kafka or PostgreSQL; else each node counts alone.",
    )


class Spool(Section):
    """Where ingest keeps what Kafka does not take at once."""

    dir: Path | None = Field(default=None, description="Folder of the spool. Unset: spool/ in the data folder.")
    durable: bool | None = Field(
        default=None,
        description="The disk survives this node, so 202 may be answered from it. Unset: only with embedded Kafka.",
    )
    max_bytes: Count = Field(default=1024 * MIB, description="Most bytes that the spool may hold.")


def _outside(issuer: str) -> str:
    """Users of an issuer are named `ISSUER|SUB`, which no user of another one may be."""
    if issuer == "eventhub" or "|" in issuer:
        raise ValueError("should be neither `eventhub`, the platform's own, nor have a `|`")
    return issuer


class Issuer(Section):
    """One whose access tokens are taken, beside the platform's own."""

    issuer: Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_outside)] = Field(
        description="What its tokens have as `iss`."
    )
    jwks_url: Annotated[str, Field(pattern=r"^https?://[^\s@]+$")] = Field(
        description="Where its public keys are; https in the production profile."
    )
    audience: Annotated[str, Field(min_length=1)] = Field(description="What its tokens must have in `aud`.")
    plan_claim: str | None = Field(default=None, description="The claim that holds the plan. Unset: `free`.")
    algorithms: Annotated[tuple[Algorithm, ...], BeforeValidator(_split)] = Field(
        default=("RS256", "ES256", "EdDSA"), description="Signatures that are taken."
    )


Issuers = Annotated[tuple[Issuer, ...], BeforeValidator(_tables)]


class Auth(Section):
    """Access tokens."""

    signing_key: SecretStr | None = Field(
        default=None, description="Key that signs access tokens. Unset in development: generated in the data folder."
    )
    previous_keys: Secrets = Field(
        default=(), description="Keys that tokens may be signed with too, PEM, public or private; for rotation."
    )
    issuers: Issuers = Field(
        default=(),
        description="Issuers outside: issuer, jwks_url, audience, plan_claim, algorithms. In the environment as JSON.",
    )


class Influxdb(Section):
    """Metrics over time."""

    url: str | None = Field(default=None, description="InfluxDB's address. Unset: metrics are kept in PostgreSQL.")
    token: SecretStr | None = Field(default=None, description="InfluxDB token.")
    org: str = Field(default="eventhub", description="InfluxDB organisation.")
    bucket: str = Field(default="eventhub", description="InfluxDB bucket.")


class Opensearch(Section):
    """Full-text search."""

    url: str | None = Field(default=None, description="OpenSearch's address. Unset: search runs on PostgreSQL.")


class Openai(Section):
    """Translation."""

    base_url: str | None = Field(default=None, description="Address of the API. Unset: the client's own default.")
    api_key: SecretStr | None = Field(default=None, description="API key. Unset: translation is off.")
    model: str = Field(default="gpt-4o-mini", description="Model that translates.")


class Stripe(Section):
    """Billing."""

    api_key: SecretStr | None = Field(default=None, description="Stripe's API key. Unset: billing is off.")
    base_url: str | None = Field(default=None, description="Address of the API. Unset: the client's own default.")
    webhook_secrets: Secrets = Field(
        default=(), description="Webhook signing secrets, comma-separated; several while rotating."
    )


class Streams(Section):
    """The consumers of the log and of the raw topics."""

    session_timeout_s: Annotated[float, Field(ge=3)] = Field(
        default=10.0, description="Silence, in seconds, after which another node takes over a node's partitions."
    )
    fence_refresh_s: Seconds = Field(
        default=21600.0, description="Age, in seconds, at which an owner renews its fence."
    )
    snapshot_s: Seconds = Field(default=60.0, description="Seconds between two snapshots of a partition's state.")
    families: Families = Field(
        default=("enrichment", "history", "aggregation"), description="Consumer families that this node runs."
    )


class Delivery(Section):
    """What subscribers get."""

    ring_bytes: Count = Field(
        default=256 * MIB, description="Bytes of the log that a node keeps in memory for late readers."
    )
    tail_back_s: Seconds = Field(
        default=600.0, description="How far back, in seconds, a node reads the log when it starts."
    )
    ping_s: Seconds = Field(
        default=25.0, description="Longest silence, in seconds, on a connection before a heartbeat."
    )
    changes_per_minute: Count = Field(
        default=5, description="Subscribe commands of a connection a minute; one with several channels is one."
    )
    changes_burst: Count = Field(default=10, description="Subscribe commands of a connection at once.")
    connections: Count = Field(default=20_000, description="Most WebSocket connections of a node.")
    connections_per_address: Count = Field(
        default=200, description="Most connections of one IPv4 address or IPv6 /64 to a node."
    )
    connections_per_user: Count = Field(default=100, description="Most connections of one user to a node.")
    connections_per_address_total: Count | None = Field(
        default=None,
        description="Most connections of one address to all nodes that share a Redis. Unset: 5 times those to one.",
    )
    connections_per_user_total: Count | None = Field(
        default=None,
        description="Most connections of one user to all nodes that share a Redis. Unset: as many as to one.",
    )
    plan_delays_s: DelayByPlan = Field(
        default={},
        description="By plan (free=30,pro=0) how many seconds late its readers see everything; others: the longest.",
    )
    match_delays_s: Delays = Field(
        default=(), description="Delays, in seconds, that a match may be declared with; the larger of both holds."
    )
    drain_s: Seconds = Field(default=5.0, description="Seconds within which a node that ends sends its clients away.")
    reconnects_per_s: Count = Field(
        default=500, description="How many clients a second of a node that ends are told to come to the others."
    )


class Ingest(Section):
    """What producers may send."""

    max_body_bytes: Count = Field(default=8 * MIB, description="Most bytes of a request's body, unpacked.")
    max_items: Count = Field(default=10_000, description="Most items of one request.")
    max_depth: Count = Field(default=16, description="Deepest nesting of an item, in levels.")
    ack_timeout_s: Seconds = Field(
        default=10.0, description="Seconds that a request waits for the log before the spool or 503."
    )
    items_per_second: Count = Field(default=50_000, description="Items that a key may send to a node each second.")
    items_burst: Count = Field(default=100_000, description="Items that a key may send to a node at once.")
    bytes_per_second: Count = Field(
        default=64 * MIB, description="Bytes of bodies, unpacked, that a key may send to a node each second."
    )
    max_pending_bytes: Count = Field(
        default=64 * MIB,
        description="Bytes of bodies that a node has in hand at most; sensors are refused from half of it.",
    )


class Health(Section):
    """When a node says that it needs a restart."""

    stuck_after_s: Seconds = Field(
        default=60.0,
        description="Seconds without progress after which a partition with work counts as stuck, and /livez fails.",
    )


class Settings(BaseSettings):
    """All settings of a node. Made by `load`, which knows where each value came from; by hand in tests."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` hands over: the library's own sources cannot say which of them an error is in."""
        return (init_settings,)

    profile: Literal["development", "production"] = Field(
        default="development", description="production refuses what is only fit for development."
    )
    data_dir: Path = Field(default=Path(".eventhub"), description="Folder of everything that a node keeps.")
    cache_dir: Path | None = Field(
        default=None,
        description="Folder of Kafka's jars, shared by data folders. Unset: eventhub/ in the user's cache folder.",
    )
    http: Http = Http()
    admin: Admin = Admin()
    kafka: Kafka = Kafka()
    postgres: Postgres = Postgres()
    redis: Redis = Redis()
    spool: Spool = Spool()
    auth: Auth = Auth()
    influxdb: Influxdb = Influxdb()
    opensearch: Opensearch = Opensearch()
    openai: Openai = Openai()
    stripe: Stripe = Stripe()
    streams: Streams = Streams()
    delivery: Delivery = Delivery()
    ingest: Ingest = Ingest()
    health: Health = Health()
