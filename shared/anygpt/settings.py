"""Settings that every service has; read once, from the environment (prefix ANYGPT_) or a caller, then frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1024 * 1024


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


class LimitSettings(_Frozen):
    """The one place that every size limit is fed from."""

    inline_bytes: int = Field(default=256 * 1024, description="Largest payload inside a message.")
    message_bytes: int = Field(default=1 * MIB, description="Largest record on the bus.")
    grpc_bytes: int = Field(default=16 * MIB, description="Largest gRPC message.")
    media_bytes: int = Field(default=256 * MIB, description="Largest media object.")
    image_pixels: int = Field(default=50_000_000, description="Most pixels of a picture or a frame.")
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
        env_prefix="ANYGPT_", env_nested_delimiter="__", frozen=True, extra="ignore", populate_by_name=True
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
    metrics_port: int = Field(default=-1, ge=-1, le=65535, description="Prometheus port; -1: none.")
    drain_s: float = Field(default=20.0, ge=0, description="Seconds that running work gets after SIGTERM.")
    kafka: KafkaSettings = KafkaSettings()
    s3: S3Settings = S3Settings()
    limits: LimitSettings = LimitSettings()
    trace: TraceSettings = TraceSettings()

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
