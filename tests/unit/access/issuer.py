"""An OIDC issuer of the tests' own: keys, tokens, and a server that publishes the keys."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from anygpt.settings import OidcSettings

ISSUER = "https://login.example.com/"
AUDIENCE = "anygpt"


class Issuer:
    """Signs tokens with its newest key."""

    def __init__(self) -> None:
        self._rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.key_id = "first"
        self.private: Any = self._rsa
        self.algorithm = "RS256"

    def rotate(self) -> None:
        """Sign with a new key, and publish no other."""
        self.private, self.key_id, self.algorithm = ec.generate_private_key(ec.SECP256R1()), "second", "ES256"

    @property
    def jwks(self) -> str:
        """What it publishes."""
        algorithm: Any = RSAAlgorithm if self.algorithm == "RS256" else ECAlgorithm
        key = algorithm.to_jwk(self.private.public_key(), as_dict=True)
        return json.dumps({"keys": [{**key, "kid": self.key_id, "use": "sig", "alg": self.algorithm}]})

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Those of a good token; a change to None leaves the claim out."""
        now = int(time.time())
        good = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 600, "tenant": "acme",
            "scope": "openid generate media",
        }  # fmt: skip
        return {name: value for name, value in (good | changes).items() if value is not None}

    def token(self, **changes: Any) -> str:
        """A signed token."""
        return jwt.encode(self.claims(**changes), self.private, self.algorithm, {"kid": self.key_id})


def settings(jwks: str) -> OidcSettings:
    """Settings that trust the issuer."""
    return OidcSettings(issuer=ISSUER, audience=AUDIENCE, jwks=jwks)


@contextmanager
def published(issuer: Issuer) -> Iterator[tuple[str, list[str]]]:
    """The URL of the issuer's keys, and the requests that came."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(issuer.jwks.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/keys", asked
        finally:
            server.shutdown()
            thread.join()
