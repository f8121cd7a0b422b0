"""Keys of the memory: a tenant's are below folders of its own, so that they can be found and forgotten."""

from __future__ import annotations


def encodings_folder(tenant: str, sha256: str) -> str:
    """Where the encodings of one medium lie, of all modalities and packs."""
    return f"encoded/{tenant}/{sha256}/"


def turn_key(tenant: str, conversation_id: str) -> str:
    """Who has a conversation's next turn."""
    return f"turn/{tenant}/{conversation_id}"


def client_key(tenant: str, request_id: str) -> str:
    """Which stream follows a request."""
    return f"client/{tenant}/{request_id}"


def tenant_folders(tenant: str) -> tuple[str, ...]:
    """All folders of a tenant."""
    return (f"encoded/{tenant}/", f"turn/{tenant}/", f"client/{tenant}/", f"job/{tenant}/")
