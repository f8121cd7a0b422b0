"""A broker that asks who everyone is and lets nobody do what was not granted, as in a company."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from anygpt.grants import ACCOUNTS
from anygpt.settings import KafkaSettings, ServiceSettings
from tests.servers.kafka import Kafka
from tests.servers.process import free_port

ADMIN = "admin"
SECURED = """
listener.security.protocol.map=CONTROLLER:PLAINTEXT,INTERNAL:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT
inter.broker.listener.name=INTERNAL
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
  user_admin="secret of admin";
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=\\
  org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin;User:ANONYMOUS
"""


class SecuredKafka(Kafka):
    """A broker with passwords and grants; its internal listeners are the loopback's alone."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        self.internal_port = free_port()

    def prepare(self) -> None:
        """Writes the configuration and formats the storage."""
        super().prepare()
        internal = f"INTERNAL://127.0.0.1:{self.internal_port},"
        lines = self.properties.read_text().replace(
            "listeners=PLAINTEXT://", f"listeners={internal}SASL_PLAINTEXT://"
        )
        kept = [line for line in lines.splitlines() if not line.startswith("inter.broker.listener.name")]
        self.properties.write_text("\n".join(kept) + SECURED)

    def settings(self, account: str, password: str = "") -> ServiceSettings:
        """How an account reaches the broker; the admin also has the passwords of all."""
        is_admin = account == ADMIN
        kafka = KafkaSettings(
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN" if is_admin else "SCRAM-SHA-512",
            username=account,
            password=SecretStr(password or secret_of(account)),
            accounts={name: SecretStr(secret_of(name)) for name in ACCOUNTS} if is_admin else {},
        )
        return ServiceSettings(bus=self.url, kafka=kafka)


def secret_of(account: str) -> str:
    """The password of an account."""
    return f"secret of {account}"
