"""Settings that every service has, read once, then frozen: from a caller, the environment (prefix ANYGPT_), or files.

The files lie in the folder that ANYGPT_SECRETS names, each called as its variable: what is secret stays out of sight.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, SecretStr, model_validator
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

MIB = 1024 * 1024
PREFIX = "ANYGPT_"
OTHERS = frozenset(
    {
        "ACCESS", "BROKER", "BUS", "CLIENT", "DATA", "GATEWAY", "HEALTH_PORT", "HOST", "INSECURE", "KAFKA", "MEMORY",
        "METRICS_PORT", "PORT", "S3", "SEAL_KEY", "SECRETS", "STORE", "TLS", "TRACE",
    }
)  # fmt: skip
"""Settings that lead to other systems or are known to them; how models run, and where their weights are, is neither."""


def let_idle_threads_sleep() -> None:
    """Tell OpenMP, before a library loads it, that threads without work sleep: awake they take others' cores.

    The generator's own threads write two to three times as many tokens a second beside sleeping ones.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def private_environment() -> dict[str, str]:
    """This process's environment without what leads to other systems."""

    def leads_away(name: str) -> bool:
        return name.startswith(PREFIX) and name.removeprefix(PREFIX).partition("__")[0] in OTHERS

    return {name: value for name, value in os.environ.items() if not leads_away(name.upper())}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(_Frozen):
    """How to reach a real cluster."""

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str = ""
    password: SecretStr = SecretStr("")
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    accounts: dict[str, SecretStr] = Field(
        default={},
        description="Passwords of the services' accounts, which `anygpt init` makes with their ACLs.",
    )
    replication_factor: int = Field(default=1, ge=1, description="Of topics that `anygpt init` creates.")
    instance_id: str = Field(default="", description="Static group membership; the pod's name in a cluster.")
    session_timeout_ms: int = Field(default=6000, ge=1000)
    linger_ms: int = Field(default=0, ge=0)


class S3Settings(_Frozen):
    """How to reach an S3 store. Clients get presigned URLs at `public_endpoint`, services use the internal one."""

    access_key: str = ""
    secret_key: SecretStr = SecretStr("")
    secure: bool = Field(default=False, description="Internal endpoint speaks TLS.")
    ca_file: Path | None = None
    region: str = "us-east-1"
    public_endpoint: str = Field(
        default="", description="E.g. https://media.example.com; empty: the internal one."
    )


class TraceSettings(_Frozen):
    """Where spans go: an OTLP collector over gRPC."""

    endpoint: str = Field(default="", description="E.g. http://collector:4317; empty: no spans are made.")
    ratio: float = Field(default=1.0, ge=0, le=1, description="Share of new traces that are kept.")


class TlsSettings(_Frozen):
    """The server's certificate; files are read again when they change."""

    cert_file: Path | None = Field(default=None, description="PEM, the chain included.")
    key_file: Path | None = None
    client_ca_file: Path | None = Field(
        default=None, description="Clients must show a certificate of these authorities (mTLS)."
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("a certificate and its key come together")
        if self.client_ca_file and not self.cert_file:
            raise ValueError("certificates of clients can be asked for by a server that has one")
        return self


class OidcSettings(_Frozen):
    """Tokens of one issuer, taken as credentials."""

    issuer: str = Field(default="", description="Claim `iss`; empty: no tokens are taken.")
    audience: str = Field(default="", description="Claim `aud`.")
    jwks: str = Field(default="", description="The issuer's keys: https://... or a file.")
    tenant_claim: str = Field(default="tenant", description="Claim that names the tenant.")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.issuer and not (self.audience and self.jwks):
            raise ValueError("an issuer needs an audience and its keys (jwks)")
        return self


class AccessSettings(_Frozen):
    """Who may call. With neither keys nor an issuer everybody may, which a public door refuses to do."""

    keys_file: Path | None = Field(default=None, description="API keys, as `anygpt key create` writes them.")
    oidc: OidcSettings = OidcSettings()

    @property
    def is_asked(self) -> bool:
        """Whether callers are asked for a credential."""
        return self.keys_file is not None or bool(self.oidc.issuer)


class ClientSettings(_Frozen):
    """How a client of the gateway proves itself and what it trusts."""

    token: SecretStr = Field(default=SecretStr(""), description="API key or OIDC token.")
    token_file: Path | None = Field(default=None, description="File with the token, read at every call.")
    ca_file: Path | None = Field(default=None, description="Authorities; unset: the system's.")
    cert_file: Path | None = Field(default=None, description="The client's own certificate (mTLS).")
    key_file: Path | None = None
    insecure: bool = Field(default=False, description="Without TLS beyond this machine.")


class GuardSettings(_Frozen):
    """Which installed guard looks at content, and what it needs."""

    name: str = Field(default="", description="An entry point of `anygpt.guards`; empty: all content passes.")
    words: Path | None = Field(default=None, description="File of the guard `words`: one a line.")


class SandboxSettings(_Frozen):
    """Child processes that read media, and what each of them may take."""

    children: int = Field(default=2, ge=1, description="How many read at once.")
    memory_bytes: int = Field(default=2048 * MIB, description="Address space of a child.")
    seconds: float = Field(default=30.0, gt=0, description="Longest time for one file.")
    output_bytes: int = Field(default=64 * MIB, description="Most bytes that come of one file.")


class LimitSettings(_Frozen):
    """The one place that every size limit is fed from."""

    inline_bytes: int = Field(default=256 * 1024, description="Largest payload inside a message.")
    message_bytes: int = Field(default=1 * MIB, description="Largest record on the bus.")
    grpc_bytes: int = Field(default=16 * MIB, description="Largest gRPC message.")
    media_bytes: int = Field(default=256 * MIB, description="Largest media object.")
    image_pixels: int = Field(default=50_000_000, description="Most pixels of a picture or a frame.")
    animation_pixels: int = Field(
        default=2_000_000_000, description="Most pixels in all frames of an animated picture."
    )
    media_duration_ms: int = Field(default=10 * 60 * 1000, description="Longest clip or sound.")
    parts: int = Field(default=64, description="Most parts in one message.")
    deadline_ms: int = Field(default=10 * 60 * 1000, description="Longest life of a request.")
    grace_ms: int = Field(default=30_000, description="Default life of a request without its client.")
    shares: dict[str, PositiveFloat] = Field(
        default={}, description="Weights of tenants where they compete; who is not named weighs 1."
    )
    unfinished_records: int = Field(
        default=1024, description="Records past the oldest unfinished of a partition."
    )


class ServiceSettings(BaseSettings):
    """What any service needs; a service's own settings extend it."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="ignore", populate_by_name=True
    )

    bus: str = Field(default="memory://", description="memory:// or kafka://host:port[,host:port]")
    store: str = Field(
        default="", description="file:///folder or s3://host:port/bucket; empty: under the data folder"
    )
    memory: str = Field(
        default="", description="sqlite:///file or redis://host:port/0; empty: under the data folder"
    )
    data: Path = Field(default=Path("~/.local/share/anygpt"), description="Folder of the embedded form.")
    pack: str = Field(default="mini", description="Name of a pack in shared/packs, or a path.")
    device: str = Field(default="cpu", description="Torch device of the models, e.g. cpu, cuda:0.")
    threads: int = Field(default=0, ge=0, description="CPU threads of the models; 0: all cores.")
    deterministic: bool = Field(
        default=False, description="Fixed shapes: equal to the bit alone and in a batch."
    )
    host: str = Field(default="127.0.0.1", description="Address that the gRPC server binds.")
    port: int = Field(default=50051, ge=0, le=65535, description="gRPC port; 0: any free one, printed.")
    health_port: int = Field(
        default=-1, ge=-1, le=65535, description="Health alone, without TLS, for probes; -1: none."
    )
    metrics_port: int = Field(default=-1, ge=-1, le=65535, description="Prometheus port; -1: none.")
    drain_s: float = Field(default=20.0, ge=0, description="Seconds that running work gets after SIGTERM.")
    insecure: bool = Field(default=False, description="Serve beyond loopback without TLS, or whoever calls.")
    tls: TlsSettings = TlsSettings()
    access: AccessSettings = AccessSettings()
    seal_key: SecretStr = Field(
        default=SecretStr(""),
        description="Seals records of the journal: the gateway's is the master key, a stage's is made of it.",
    )
    kafka: KafkaSettings = KafkaSettings()
    s3: S3Settings = S3Settings()
    limits: LimitSettings = LimitSettings()
    trace: TraceSettings = TraceSettings()
    sandbox: SandboxSettings = SandboxSettings()
    guard: GuardSettings = GuardSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """A caller's values, then the environment, then the folder of secrets."""
        folder = os.environ.get("ANYGPT_SECRETS")
        files = NestedSecretsSettingsSource(
            file_secret_settings, secrets_dir=folder, secrets_dir_missing="error"
        )
        return init_settings, env_settings, files

    @property
    def data_folder(self) -> Path:
        """The data folder, home expanded."""
        return self.data.expanduser()

    @property
    def store_url(self) -> str:
        """The store, by default a folder below the data folder."""
        return self.store or f"file://{self.data_folder.absolute() / 'objects'}"

    @property
    def memory_url(self) -> str:
        """The memory, by default a file below the data folder."""
        return self.memory or f"sqlite:///{self.data_folder.absolute() / 'memory.sqlite'}"


class CommandSettings(BaseSettings):
    """What commands that call a gateway take from the environment."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="ignore"
    )

    client: ClientSettings = ClientSettings()
