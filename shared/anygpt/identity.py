"""Ids and object keys: who made what, without a word of the user's in them."""

from __future__ import annotations

import re
import secrets

from anygpt.errors import InvalidInput
from anygpt.stage import now_ms

TENANT_METADATA = "anygpt-tenant"
"""Metadata of a call that names its tenant."""
REQUEST_METADATA = "anygpt-request"
"""Metadata of a call to a stage that names the request it belongs to."""
_OBJECT = re.compile(r"(uploads|media)(/[0-9a-z]{1,80}){1,3}")
_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def new_request_id() -> str:
    """32 hex digits that begin with the time in milliseconds, so that ids sort by age."""
    return f"{now_ms():012x}{secrets.token_hex(10)}"


def request_time_ms(request_id: str) -> int:
    """When the id was made. Raises InvalidInput for what is no request id."""
    if not re.fullmatch(r"[0-9a-f]{32}", request_id):
        raise InvalidInput("this is no request id", field="request_id")
    return int(request_id[:12], 16)


def new_id() -> str:
    """A random id of 24 hex digits."""
    return secrets.token_hex(12)


def check_tenant(tenant: str) -> str:
    """Return the tenant's name. Raises InvalidInput unless it is lower-case letters, digits and hyphens."""
    if not _TENANT.fullmatch(tenant):
        raise InvalidInput("a tenant is up to 63 lower-case letters, digits and hyphens", field="tenant")
    return tenant


def upload_object(sha256: str) -> str:
    """The id of uploaded media."""
    return f"uploads/{sha256}"


def media_object(request_id: str, span_index: int, sha256: str) -> str:
    """The id of generated media."""
    return f"media/{request_id}/{span_index}/{sha256}"


def object_key(tenant: str, object_id: str, field: str = "object") -> str:
    """Where a tenant's object lies in the store. Raises InvalidInput for what is no object id."""
    if not _OBJECT.fullmatch(object_id):
        raise InvalidInput("this is no object id", reason="OBJECT_ID", field=field)
    return f"{tenant}/{object_id}"


def ref_key(tenant: str, object_id: str, field: str = "object") -> str:
    """Where the facts about an object (a MediaRef) lie, beside it."""
    return f"{tenant}/refs/{object_key(tenant, object_id, field).removeprefix(tenant + '/')}"
