"""MinIO on one drive, with random credentials and one bucket."""

from __future__ import annotations

import secrets
import urllib.request
from pathlib import Path

from pydantic import SecretStr

from anygpt.settings import S3Settings
from tests.servers.install import minio_binary
from tests.servers.process import Server


class Minio(Server):
    """A MinIO server on a free port."""

    name = "minio"
    bucket = "anygpt"

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        self.access_key = f"test{secrets.token_hex(4)}"
        self.secret_key = secrets.token_hex(16)

    @property
    def endpoint(self) -> str:
        """HOST:PORT, as S3 clients take it."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """s3://127.0.0.1:PORT/BUCKET"""
        return f"s3://{self.endpoint}/{self.bucket}"

    @property
    def settings(self) -> S3Settings:
        """The credentials, as the store takes them."""
        return S3Settings(access_key=self.access_key, secret_key=SecretStr(self.secret_key))

    def command(self) -> list[str]:
        """The server without its console's default port and without colours."""
        return [minio_binary(), "server", "--quiet", "--address", self.endpoint, str(self.data)]

    def environment(self) -> dict[str, str]:
        """Credentials; no console, no calls to the vendor."""
        return {
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
            "MINIO_CALLHOME_ENABLE": "off",
        }

    def prepare(self) -> None:
        """A folder of the drive is a bucket: tests need not create it."""
        (self.data / self.bucket).mkdir()

    def answers(self) -> bool:
        """MinIO's own readiness, which waits for its storage."""
        with urllib.request.urlopen(f"http://{self.endpoint}/minio/health/ready", timeout=1) as response:
            return int(response.status) == 200
