"""Who may call what: every RPC of every service, tried by everybody, over real gRPC."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

import anygpt.v1
from anygpt.access import ANY_TENANT, AUTHORIZATION_METADATA, RULES, Access, Caller, Scope
from anygpt.client import AsyncClient, Options
from anygpt.credentials import Credentials
from anygpt.errors import Denied, InvalidInput, Unauthenticated
from anygpt.keys import Keys, new_key, write_keys
from tests.flow.conftest import EMBEDDED, EmbeddedService
from tests.unit.access.issuer import AUDIENCE, ISSUER, Issuer

EVERYBODY = {"nobody", "stranger", "expired", "generate", "media", "jobs", "admin", "services"}
MEMBERS = EVERYBODY - {"nobody", "stranger", "expired"}
GENERATE, MEDIA, JOBS, ADMIN = ({scope, "services"} for scope in ("generate", "media", "jobs", "admin"))

MAY_CALL: Mapping[str, set[str]] = {
    "/anygpt.v1.AnyGPTService/Generate": GENERATE,
    "/anygpt.v1.AnyGPTService/Cancel": GENERATE,
    "/anygpt.v1.AnyGPTService/Resume": GENERATE,
    "/anygpt.v1.AnyGPTService/CreateConversation": GENERATE,
    "/anygpt.v1.AnyGPTService/GetConversation": GENERATE,
    "/anygpt.v1.AnyGPTService/ListConversations": GENERATE,
    "/anygpt.v1.AnyGPTService/DeleteConversation": GENERATE,
    "/anygpt.v1.AnyGPTService/Describe": MEMBERS,
    "/anygpt.v1.AnyGPTService/Inspect": GENERATE,
    "/anygpt.v1.MediaService/Upload": MEDIA,
    "/anygpt.v1.MediaService/Download": MEDIA,
    "/anygpt.v1.MediaService/CreateUploadUrl": MEDIA,
    "/anygpt.v1.MediaService/CompleteUpload": MEDIA,
    "/anygpt.v1.MediaService/CreateDownloadUrl": MEDIA,
    "/anygpt.v1.JobService/CreateJob": JOBS,
    "/anygpt.v1.JobService/GetJob": JOBS,
    "/anygpt.v1.JobService/ListJobs": JOBS,
    "/anygpt.v1.JobService/WatchJob": JOBS,
    "/anygpt.v1.JobService/CancelJob": JOBS,
    "/anygpt.v1.DeadLetterService/ListDeadLetters": ADMIN,
    "/anygpt.v1.DeadLetterService/GetDeadLetter": ADMIN,
    "/anygpt.v1.DeadLetterService/ReplayDeadLetter": ADMIN,
    "/anygpt.v1.DeadLetterService/PurgeDeadLetters": ADMIN,
    "/anygpt.v1.AdminService/DeleteTenant": ADMIN,
    "/anygpt.v1.EncoderService/Encode": ADMIN,
    "/anygpt.v1.GeneratorService/GenerateTokens": ADMIN,
    "/anygpt.v1.DecoderService/Decode": ADMIN,
    "/grpc.health.v1.Health/Check": EVERYBODY,
    "/grpc.health.v1.Health/List": EVERYBODY,
    "/grpc.health.v1.Health/Watch": EVERYBODY,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": MEMBERS,
}
REFUSALS = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


def methods() -> Iterator[str]:
    """Every RPC that the contracts have, and those that every server adds."""
    names = [one.name for one in pkgutil.iter_modules(anygpt.v1.__path__) if one.name.endswith("_pb2")]
    ours = [importlib.import_module(f"anygpt.v1.{name}") for name in names]
    for file in (*ours, health_pb2, reflection_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            yield from (f"/{service.full_name}/{method.name}" for method in service.methods)


@dataclass(frozen=True)
class System:
    """A system that asks for credentials."""

    address: str
    tokens: Mapping[str, str]
    """By who holds them."""

    def client(self, who: str, tenant: str = "default") -> AsyncClient:
        """A client that holds that credential."""
        return AsyncClient(self.address, tenant, Credentials(token=self.tokens[who]))


def give_keys(file: Path) -> dict[str, str]:
    """A key for each scope, one that has expired and one for the services."""
    every = frozenset(Scope)
    made = {scope.value: new_key("acme", frozenset({scope})) for scope in Scope}
    made |= {"expired": new_key("acme", every, days=-1), "services": new_key(ANY_TENANT, every)}
    write_keys(file, Keys(keys=tuple(entry for _, entry in made.values())))
    stranger, _ = new_key("acme", every)
    return {"nobody": "", "stranger": stranger, **{who: token for who, (token, _) in made.items()}}


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def system(plain_pack: Path, tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[System]:
    """The plain system in one process, with keys and an issuer."""
    folder = tmp_path_factory.mktemp("access")
    tokens = give_keys(folder / "keys.json")
    (folder / "jwks.json").write_text(issuer.jwks)
    asked = {
        "KEYS_FILE": str(folder / "keys.json"),
        "OIDC__ISSUER": ISSUER,
        "OIDC__AUDIENCE": AUDIENCE,
        "OIDC__JWKS": str(folder / "jwks.json"),
    }
    settings = {f"ANYGPT_ACCESS__{name}": value for name, value in asked.items()}
    with EmbeddedService(EMBEDDED, ANYGPT_PACK=str(plain_pack), **settings) as service:
        yield System(service.address, {**tokens, "token": issuer.token()})


async def status(channel: grpc.aio.Channel, method: str, token: str) -> grpc.StatusCode:
    """How a server answers an empty message."""
    metadata = ((AUTHORIZATION_METADATA, f"Bearer {token}"),) if token else ()
    # On the wire one message is the same for all four kinds; as a stream it may race with the refusal.
    rpc: Any = channel.unary_stream(method)
    call = rpc(b"", metadata=metadata, timeout=20)
    try:
        await anext(aiter(call), None)
    except grpc.aio.AioRpcError as error:
        return error.code()
    finally:
        call.cancel()
    return grpc.StatusCode.OK


def test_every_rpc_has_its_row_here_and_its_rule_in_the_code() -> None:
    assert set(methods()) == set(MAY_CALL) == set(RULES)


async def test_every_rpc_is_open_to_those_who_may_call_it_and_to_nobody_else(system: System) -> None:
    wrong = []
    async with grpc.aio.insecure_channel(system.address) as channel:
        for method, may in MAY_CALL.items():
            for who in EVERYBODY:
                answered = await status(channel, method, system.tokens[who])
                known = (
                    grpc.StatusCode.PERMISSION_DENIED if who in MEMBERS else grpc.StatusCode.UNAUTHENTICATED
                )
                if (answered in REFUSALS) == (who in may) or (who not in may and answered is not known):
                    wrong.append((method, who, answered))
    assert not wrong


async def test_a_method_without_a_row_is_denied() -> None:
    class Everything:
        async def verify(self, token: str) -> Caller:
            return Caller("all", ANY_TENANT, frozenset(Scope))

    with pytest.raises(Denied):
        await Access([Everything()]).admit(
            "/anygpt.v1.AnyGPTService/Forgotten", {AUTHORIZATION_METADATA: "Bearer x"}
        )


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic eDp5", "bearer x", "x"])
async def test_a_header_that_is_no_bearer_is_refused(header: str) -> None:
    class Everything:
        async def verify(self, token: str) -> Caller:
            return Caller("all", ANY_TENANT, frozenset(Scope))

    with pytest.raises(Unauthenticated):
        await Access([Everything()]).admit(
            "/anygpt.v1.AnyGPTService/Describe", {AUTHORIZATION_METADATA: header}
        )


async def test_a_refusal_tells_its_reason_and_no_secret(system: System) -> None:
    for who, kind, reason in (
        ("nobody", Unauthenticated, "CREDENTIAL_MISSING"),
        ("stranger", Unauthenticated, "CREDENTIAL_INVALID"),
        ("expired", Unauthenticated, "CREDENTIAL_EXPIRED"),
        ("media", Denied, "SCOPE_MISSING"),
    ):
        async with system.client(who) as client:
            with pytest.raises(kind) as caught:
                await client.new_conversation()
        assert caught.value.reason == reason
        assert not system.tokens[who] or system.tokens[who] not in caught.value.message


async def test_the_tenant_is_the_credentials_whatever_the_metadata_says(system: System) -> None:
    async with system.client("generate") as client:
        conversation = await client.new_conversation()
    async with system.client("generate", "other") as client:
        assert (await client.conversation(conversation)).conversation.conversation_id == conversation


async def test_a_key_of_the_services_works_for_the_tenant_that_it_names(system: System) -> None:
    async with system.client("generate") as client:
        conversation = await client.new_conversation()
    async with system.client("services", "acme") as client:
        assert (await client.conversation(conversation)).conversation.conversation_id == conversation
    async with system.client("services", "../acme") as client:
        with pytest.raises(InvalidInput):
            await client.conversation(conversation)


async def test_a_token_of_the_issuer_is_a_credential(system: System) -> None:
    async with system.client("token") as client:
        assert (await client.answer("hello", options=Options(want=["text"]))).text
        with pytest.raises(Denied):
            await client.submit_job(b'{"parts": [{"text": "x"}]}')


async def test_jobs_are_done_for_their_tenant_by_the_workers_own_key(system: System) -> None:
    async with system.client("services", "acme") as client:
        job = await client.submit_job(b'{"parts": [{"text": "hello"}]}')
        states = [each async for each in client.watch_job(job.job_id)]
    assert (states[-1].finished_lines, states[-1].failed_lines) == (1, 0)
