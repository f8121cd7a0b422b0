"""Access: who calls, and which RPCs that caller may call. What is not in the table is denied to everyone."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

import grpc

from anygpt.errors import AnyGPTError, Denied, InvalidInput, Unauthenticated
from anygpt.identity import TENANT_METADATA, check_tenant
from anygpt.rpc import rebuilt

log = logging.getLogger(__name__)

AUTHORIZATION_METADATA = "authorization"
BEARER = "Bearer "
ANY_TENANT = "*"
"""The tenant of a credential whose caller names, call by call, the tenant it works for."""
DEFAULT_TENANT = "default"


class Scope(StrEnum):
    """What a credential is good for."""

    GENERATE = "generate"
    MEDIA = "media"
    JOBS = "jobs"
    ADMIN = "admin"


Rule = frozenset[Scope] | None
"""Any of these scopes opens an RPC; None: no credential is asked for."""

OPEN: Rule = None
MEMBERS: Rule = frozenset(Scope)
GENERATE: Rule = frozenset({Scope.GENERATE})
MEDIA: Rule = frozenset({Scope.MEDIA})
JOBS: Rule = frozenset({Scope.JOBS})
ADMIN: Rule = frozenset({Scope.ADMIN})

SERVICES: Mapping[str, Mapping[str, Rule]] = {
    "anygpt.v1.AnyGPTService": {
        "Generate": GENERATE,
        "Cancel": GENERATE,
        "Resume": GENERATE,
        "CreateConversation": GENERATE,
        "GetConversation": GENERATE,
        "ListConversations": GENERATE,
        "DeleteConversation": GENERATE,
        "Describe": MEMBERS,
        "Inspect": GENERATE,
    },
    "anygpt.v1.MediaService": {
        "Upload": MEDIA,
        "Download": MEDIA,
        "CreateUploadUrl": MEDIA,
        "CompleteUpload": MEDIA,
        "CreateDownloadUrl": MEDIA,
    },
    "anygpt.v1.JobService": {
        "CreateJob": JOBS,
        "GetJob": JOBS,
        "ListJobs": JOBS,
        "WatchJob": JOBS,
        "CancelJob": JOBS,
    },
    "anygpt.v1.AdminService": {"DeleteTenant": ADMIN},
    "anygpt.v1.DeadLetterService": {
        "ListDeadLetters": ADMIN,
        "GetDeadLetter": ADMIN,
        "ReplayDeadLetter": ADMIN,
        "PurgeDeadLetters": ADMIN,
    },
    # A stage called alone passes by the gateway's admission: that is for operators.
    "anygpt.v1.EncoderService": {"Encode": ADMIN},
    "anygpt.v1.GeneratorService": {"GenerateTokens": ADMIN},
    "anygpt.v1.DecoderService": {"Decode": ADMIN},
    "grpc.health.v1.Health": {"Check": OPEN, "List": OPEN, "Watch": OPEN},
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": MEMBERS},
}
"""Who may call each RPC of each service."""

RULES: Mapping[str, Rule] = {
    f"/{service}/{method}": rule for service, rules in SERVICES.items() for method, rule in rules.items()
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the credential's name, its tenant and its scopes."""

    name: str
    tenant: str
    scopes: frozenset[Scope]

    def check(self, rule: frozenset[Scope]) -> None:
        """Raise Denied unless one of the rule's scopes is the caller's."""
        if not self.scopes & rule:
            needed = " or ".join(sorted(rule))
            raise Denied(f"this needs the scope {needed}", reason="SCOPE_MISSING", field="authorization")

    def naming(self, tenant: str) -> Caller:
        """The caller for one call: a credential of one tenant stays with it, whatever tenant is named."""
        if self.tenant != ANY_TENANT:
            return self
        return replace(self, tenant=check_tenant(tenant or DEFAULT_TENANT))


CALLER: ContextVar[Caller] = ContextVar("caller")
"""The caller of the RPC under way; unset outside of one."""


class Verifier(Protocol):
    """Knows one kind of credential."""

    async def verify(self, token: str) -> Caller | None:
        """Whose it is; None when it is of another kind. Raises Unauthenticated when it is not good."""
        ...


class Access:
    """Decides over every call. Without verifiers everybody is let in, as an operator."""

    def __init__(self, verifiers: Sequence[Verifier]) -> None:
        self._verifiers = verifiers

    async def admit(self, method: str, metadata: Mapping[str, str]) -> Caller:
        """The caller. Raises Unauthenticated or Denied."""
        rule = RULES.get(method, frozenset())
        tenant = metadata.get(TENANT_METADATA, "")
        if not self._verifiers or rule is None:
            return Caller("anonymous", ANY_TENANT, frozenset(Scope)).naming(tenant)
        caller = await self._verify(metadata.get(AUTHORIZATION_METADATA, ""))
        caller.check(rule)
        return caller.naming(tenant)

    async def _verify(self, authorization: str) -> Caller:
        token = authorization.removeprefix(BEARER)
        if not token or token == authorization:
            raise Unauthenticated(
                "metadata `authorization` is `Bearer <key or token>`", reason="CREDENTIAL_MISSING"
            )
        for verifier in self._verifiers:
            caller = await verifier.verify(token)
            if caller is not None:
                return caller
        raise Unauthenticated("the credential is of no known kind", reason="CREDENTIAL_INVALID")


class AccessInterceptor(grpc.aio.ServerInterceptor):
    """Lets a call in, with its caller known to the handler, or refuses it before a byte of its body is read."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Decide, then hand on the handler, or one that refuses."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        try:
            metadata = {name: str(value) for name, value in handler_call_details.invocation_metadata or ()}
            CALLER.set(await self._access.admit(method, metadata))
        except (Unauthenticated, Denied, InvalidInput) as error:
            log.warning("refused %s: %s", method, error.reason)
            return _refusing(handler, error)
        except AnyGPTError as error:
            return _refusing(handler, error)
        return handler


def _refusing(handler: Any, error: AnyGPTError) -> Any:
    async def refuse(request: Any, context: Any) -> Any:
        await context.abort_with_status(error.to_status())

    async def refuse_streaming(request: Any, context: Any) -> AsyncIterator[Any]:
        yield await refuse(request, context)

    return rebuilt(handler, lambda _: refuse_streaming, lambda _: refuse)
