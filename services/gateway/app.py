"""The gateway: the front door of the system, built and mounted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc

from anygpt.main import Runtime
from anygpt.memory import LossyMemory
from anygpt.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    anygpt_service_pb2,
    anygpt_service_pb2_grpc,
    dead_letter_service_pb2,
    dead_letter_service_pb2_grpc,
    job_service_pb2,
    job_service_pb2_grpc,
    media_service_pb2,
    media_service_pb2_grpc,
)
from services.gateway import api, composition
from services.gateway.admin import AdminServicer
from services.gateway.admission import Admission
from services.gateway.composer import Composer
from services.gateway.conversations import Conversations
from services.gateway.dead_letters import DeadLetterServicer
from services.gateway.description import Description
from services.gateway.erasure import Erasure
from services.gateway.idempotency import IdempotencyKeys
from services.gateway.intake import Intake
from services.gateway.jobs import JobServicer
from services.gateway.ledger import Ledger
from services.gateway.load import Load
from services.gateway.media import MediaServicer
from services.gateway.media_facts import FactsReader
from services.gateway.media_url import Internet, UrlFetcher
from services.gateway.prompt import PromptWriter
from services.gateway.quota import Quota
from services.gateway.settings import Settings
from services.gateway.streams import Streams
from services.gateway.sweeper import Sweeper

TICK_S = 0.05


class Gateway:
    """Two roles in one service: doors for clients, and the composer of its share of the journal."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        pack = runtime.pack
        writer = PromptWriter(pack, settings.answer_tokens)
        ledger = Ledger(pack.outputs)
        memory = LossyMemory(runtime.memory)
        conversations = Conversations(runtime.store, memory, ledger)
        erasure = Erasure(runtime.bus, runtime.store, memory, ledger)
        self._facts = facts = FactsReader(runtime.sandbox, settings.limits)
        fetcher = UrlFetcher(settings.urls, settings.limits.media_bytes, Internet())
        intake = Intake(pack, runtime.store, facts, fetcher, runtime.guard)
        admission = Admission(pack, intake, settings.limits)
        self._load = Load(runtime.bus)
        self._streams = Streams(runtime.bus, settings.stream_records, ledger)
        parts = composition.Parts(runtime.bus, memory, pack, writer, conversations, settings.encode_cache_s)
        self._composer = Composer(runtime.bus, composition.Composition(parts))
        self._public = api.AnyGPTServicer(
            api.Parts(
                settings, runtime.bus, runtime.store, memory, admission,
                Quota(settings, ledger, self._load, pack.outputs), IdempotencyKeys(runtime.store, "requests"),
                writer, conversations, erasure,
                self._streams, Description(pack, settings.limits),
            )
        )  # fmt: skip
        self._media = MediaServicer(settings, runtime.store, intake, facts)
        self._admin = AdminServicer(settings, erasure)
        self._dead_letters = DeadLetterServicer(settings, runtime.bus, self._streams, conversations)
        self._sweeper = Sweeper(runtime.store, memory, settings)
        self._tasks: list[asyncio.Task[None]] = []
        self._jobs = JobServicer(settings, runtime.store, memory, intake)

    def mount(self, server: grpc.aio.Server) -> Sequence[str]:
        """Add the public services and the operators'."""
        anygpt_service_pb2_grpc.add_AnyGPTServiceServicer_to_server(self._public, server)
        media_service_pb2_grpc.add_MediaServiceServicer_to_server(self._media, server)
        job_service_pb2_grpc.add_JobServiceServicer_to_server(self._jobs, server)
        admin_service_pb2_grpc.add_AdminServiceServicer_to_server(self._admin, server)
        dead_letter_service_pb2_grpc.add_DeadLetterServiceServicer_to_server(self._dead_letters, server)
        files = (
            anygpt_service_pb2, media_service_pb2, job_service_pb2, admin_service_pb2, dead_letter_service_pb2,
        )  # fmt: skip
        return [service.full_name for file in files for service in file.DESCRIPTOR.services_by_name.values()]

    async def open(self) -> None:
        """Begin to read the journal, as a follower and as a member of the group."""
        await self._facts.open()
        await self._load.open()
        await self._streams.open()
        await self._composer.open()
        self._tasks = [
            asyncio.create_task(self._sweeper.run()), asyncio.create_task(self._public.keep_following()),
        ]  # fmt: skip

    async def drain(self, seconds: float) -> None:
        """Refuse new requests and let the streams under way end; clients of those that do not, resume elsewhere."""
        self._public.is_draining = True
        for _ in range(int(seconds / TICK_S)):
            if not self._public.running:
                return
            await asyncio.sleep(TICK_S)
        await self._streams.cut()

    async def close(self) -> None:
        """Leave the journal."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._public.close()
        await self._composer.close()
        await self._streams.close()
        await self._load.close()


def build(settings: Settings, runtime: Runtime) -> Gateway:
    """Build the gateway."""
    return Gateway(settings, runtime)
