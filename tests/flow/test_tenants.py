"""Tenants are apart: every RPC is tried with another tenant's ids, and finds nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from anygpt.access import RULES, Scope
from anygpt.client import AsyncClient, Media, Options
from anygpt.credentials import Credentials
from anygpt.errors import AnyGPTError
from anygpt.keys import Keys, new_key, write_keys
from anygpt.store_folder import FolderStore
from anygpt.v1 import (
    admin_service_pb2,
    anygpt_service_pb2,
    dead_letter_service_pb2,
    job_service_pb2,
    media_service_pb2,
    stages_pb2,
    types_pb2,
)
from tests.flow.conftest import EMBEDDED, EmbeddedService

OURS = "/anygpt.v1."
NOT_FOUND = grpc.StatusCode.NOT_FOUND
LINES = b'{"parts": [{"text": "hi"}]}'


@dataclass(frozen=True)
class Owned:
    """What one tenant has."""

    request_id: str
    conversation_id: str
    media: types_pb2.MediaRef
    lines: types_pb2.MediaRef
    job_id: str
    upload_id: str
    letter_id: str


def _generate(**fields: Any) -> anygpt_service_pb2.GenerateRequest:
    text = types_pb2.Part(text="hello")
    return anygpt_service_pb2.GenerateRequest(**{"parts": [text], **fields})


TRIED: Mapping[str, Callable[[Owned], list[Any]]] = {
    "AnyGPTService/Generate": lambda own: [
        _generate(conversation_id=own.conversation_id),
        _generate(parts=[types_pb2.Part(media=own.media)]),
    ],
    "AnyGPTService/Cancel": lambda own: [anygpt_service_pb2.CancelRequest(request_id=own.request_id)],
    "AnyGPTService/Resume": lambda own: [anygpt_service_pb2.ResumeRequest(request_id=own.request_id)],
    "AnyGPTService/Inspect": lambda own: [anygpt_service_pb2.InspectRequest(request_id=own.request_id)],
    "AnyGPTService/GetConversation": lambda own: [
        anygpt_service_pb2.GetConversationRequest(conversation_id=own.conversation_id)
    ],
    "AnyGPTService/DeleteConversation": lambda own: [
        anygpt_service_pb2.DeleteConversationRequest(conversation_id=own.conversation_id)
    ],
    "MediaService/Download": lambda own: [media_service_pb2.DownloadRequest(object=own.media.object)],
    "MediaService/CreateDownloadUrl": lambda own: [
        media_service_pb2.CreateDownloadUrlRequest(object=own.media.object)
    ],
    "MediaService/CompleteUpload": lambda own: [
        media_service_pb2.CompleteUploadRequest(upload_id=own.upload_id)
    ],
    "JobService/CreateJob": lambda own: [job_service_pb2.CreateJobRequest(requests=own.lines)],
    "JobService/GetJob": lambda own: [job_service_pb2.GetJobRequest(job_id=own.job_id)],
    "JobService/WatchJob": lambda own: [job_service_pb2.WatchJobRequest(job_id=own.job_id)],
    "JobService/CancelJob": lambda own: [job_service_pb2.CancelJobRequest(job_id=own.job_id)],
    "EncoderService/Encode": lambda own: [
        stages_pb2.EncodeRequest(modality=types_pb2.MODALITY_IMAGE, media=own.media)
    ],
    "DeadLetterService/GetDeadLetter": lambda own: [
        dead_letter_service_pb2.GetDeadLetterRequest(letter_id=own.letter_id)
    ],
    "DeadLetterService/ReplayDeadLetter": lambda own: [
        dead_letter_service_pb2.ReplayDeadLetterRequest(letter_id=own.letter_id)
    ],
    "DeadLetterService/PurgeDeadLetters": lambda own: [
        dead_letter_service_pb2.PurgeDeadLettersRequest(letter_id=own.letter_id)
    ],
    "AdminService/DeleteTenant": lambda _: [admin_service_pb2.DeleteTenantRequest(tenant="acme")],
}
"""RPCs that take an id, with another tenant's ids."""
LISTS = {
    "AnyGPTService/ListConversations": anygpt_service_pb2.ListConversationsResponse,
    "JobService/ListJobs": job_service_pb2.ListJobsResponse,
    "DeadLetterService/ListDeadLetters": dead_letter_service_pb2.ListDeadLettersResponse,
}
"""RPCs that tell what there is."""
WITHOUT_IDS = {
    "AnyGPTService/CreateConversation", "AnyGPTService/Describe", "MediaService/Upload", "MediaService/CreateUploadUrl",
    "GeneratorService/GenerateTokens", "DecoderService/Decode",
}  # fmt: skip


@dataclass(frozen=True)
class System:
    """A system with two tenants."""

    address: str
    folder: Path
    tokens: Mapping[str, str]

    def client(self, tenant: str) -> AsyncClient:
        """A client that holds the tenant's key."""
        return AsyncClient(self.address, credentials=Credentials(token=self.tokens[tenant]))

    async def ask(self, tenant: str, method: str, request: Any) -> bytes | grpc.StatusCode:
        """The first message of the answer, or the status of the refusal."""
        metadata = (("authorization", f"Bearer {self.tokens[tenant]}"),)
        async with grpc.aio.insecure_channel(self.address) as channel:
            rpc: Any = channel.unary_stream(f"{OURS}{method}")
            call = rpc(request.SerializeToString(), metadata=metadata, timeout=30)
            try:
                return bytes(await anext(aiter(call), b""))
            except grpc.aio.AioRpcError as error:
                return error.code()
            finally:
                call.cancel()


@pytest.fixture(scope="module")
def system(plain_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The plain system in one process."""
    file = tmp_path_factory.mktemp("tenants") / "keys.json"
    made = {tenant: new_key(tenant, frozenset(Scope)) for tenant in ("acme", "rival")}
    write_keys(file, Keys(keys=tuple(entry for _, entry in made.values())))
    more = {"ANYGPT_PACK": str(plain_pack), "ANYGPT_ACCESS__KEYS_FILE": str(file)}
    with EmbeddedService(EMBEDDED, **more) as service:
        yield System(service.address, service.data, {name: token for name, (token, _) in made.items()})


@pytest.fixture
async def own(system: System) -> Owned:
    """All that a tenant can have."""
    async with system.client("acme") as client:
        conversation = await client.new_conversation()
        answer = await client.answer("image", options=Options(want=["image"], conversation_id=conversation))
        job = await client.submit_job(b'{"parts": [{"text": "hello"}]}')
        async for _ in client.watch_job(job.job_id):
            pass
        lines = await client.upload(Media(LINES), "application/jsonl")
        await _fail(client)
    letters = await system.ask(
        "acme", "DeadLetterService/ListDeadLetters", dead_letter_service_pb2.ListDeadLettersRequest()
    )
    assert isinstance(letters, bytes)
    [*_, letter] = dead_letter_service_pb2.ListDeadLettersResponse.FromString(letters).letters
    store = await FolderStore(system.folder / "objects").open()
    header = media_service_pb2.UploadHeader(media_type="application/jsonl").SerializeToString()
    await store.put("acme/pending-headers/waiting", header, "application/x-pending")
    await store.put("acme/pending/waiting", b"{}", "application/jsonl")
    await store.close()
    return Owned(
        answer.request_id,
        conversation,
        answer.media("image")[0],
        lines,
        job.job_id,
        "waiting",
        letter.letter_id,
    )


async def _fail(client: AsyncClient) -> None:
    """A request that nobody can handle, so that its message is kept as a dead letter."""
    with pytest.raises(AnyGPTError):
        await client.answer("crash", options=Options(want=["text"]))


def test_every_rpc_of_ours_is_tried_or_takes_no_id() -> None:
    tried = {f"{OURS}{method}" for method in (*TRIED, *LISTS, *WITHOUT_IDS)}
    assert tried == {method for method in RULES if method.startswith(OURS)}


@pytest.mark.parametrize("method", TRIED)
async def test_another_tenants_ids_are_not_found(system: System, own: Owned, method: str) -> None:
    for request in TRIED[method](own):
        assert await system.ask("rival", method, request) is NOT_FOUND


async def test_what_is_not_found_by_another_is_there_and_unharmed(system: System, own: Owned) -> None:
    for method, requests in TRIED.items():
        for request in requests(own):
            await system.ask("rival", method, request)
    deadly = {"AnyGPTService/DeleteConversation", "DeadLetterService/PurgeDeadLetters"}
    for method in sorted(TRIED, key=lambda one: one in deadly):
        # A letter is replayed or purged, once; an erased tenant has nothing more to lose.
        if method not in ("AdminService/DeleteTenant", "DeadLetterService/ReplayDeadLetter"):
            for request in TRIED[method](own):
                assert await system.ask("acme", method, request) is not NOT_FOUND, method


@pytest.mark.parametrize("method", LISTS)
async def test_nothing_of_another_tenant_is_listed(system: System, own: Owned, method: str) -> None:
    listed = await system.ask("rival", method, LISTS[method]())
    assert listed == b""
    assert await system.ask("acme", method, LISTS[method]()) != b""


async def test_one_idempotency_key_of_two_tenants_is_two_requests(system: System) -> None:
    request = _generate(idempotency_key="the same")
    answers = await asyncio.gather(
        *(system.ask(tenant, "AnyGPTService/Generate", request) for tenant in ("acme", "rival", "acme"))
    )
    started = [
        anygpt_service_pb2.GenerateResponse.FromString(one) for one in answers if isinstance(one, bytes)
    ]
    first, other, again = (one.event.request_id for one in started)
    assert first == again != other
