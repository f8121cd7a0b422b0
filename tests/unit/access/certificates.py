"""Certificates of an authority of the tests' own, as files."""

from __future__ import annotations

from pathlib import Path

import trustme

from anygpt.settings import TlsSettings


class Authority:
    """An authority whose certificates lie in one folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._authority = trustme.CA()
        self._folder = folder
        self.file = folder / f"{name}.pem"
        self._authority.cert_pem.write_to_path(self.file)

    def issue(self, name: str, *hosts: str) -> tuple[Path, Path]:
        """The files of a certificate and its key; those that were there are replaced."""
        made = self._authority.issue_cert(*hosts, common_name=name)
        cert_file, key_file = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        key_file.write_bytes(made.private_key_pem.bytes())
        cert_file.write_bytes(b"".join(each.bytes() for each in made.cert_chain_pems))
        return cert_file, key_file

    def server(self) -> TlsSettings:
        """Settings of a server on the loopback."""
        cert_file, key_file = self.issue("server", "127.0.0.1", "localhost")
        return TlsSettings(cert_file=cert_file, key_file=key_file)
