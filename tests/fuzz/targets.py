"""The places that read what comes from outside, each a function of bytes that returns or raises an error of ours."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError

from anygpt import topology
from anygpt.bus_memory import MemoryBus
from anygpt.doors import BusDoor
from anygpt.errors import InvalidInput
from anygpt.guard import AllowAll
from anygpt.identity import new_request_id
from anygpt.pack import open_pack
from anygpt.sandbox import Sandbox
from anygpt.settings import LimitSettings, SandboxSettings
from anygpt.stage import now_ms
from anygpt.store_folder import FolderStore
from anygpt.topology import VIDEO
from anygpt.turns import Turns
from anygpt.v1 import anygpt_service_pb2, bus_pb2
from anygpt_models.input import Clips, Fit, Hearing, MediaReader, Source, Viewing
from services.batch.runner import parse_line
from services.gateway.admission import Admission
from services.gateway.intake import Intake
from services.gateway.media_facts import FactsReader
from services.gateway.media_url import Internet, UrlFetcher
from services.gateway.settings import UrlSettings
from services.gateway.url_rules import UrlRules
from tests.flow.pack import build_pack
from tests.flow.stages import ScriptedGenerator
from tests.fuzz import inputs
from tests.unit.doors.test_bus_door import headers

LIMITS = LimitSettings(media_bytes=1 << 20, image_pixels=1_000_000, media_duration_ms=60_000)
ENTRY = topology.STAGES["llm"]


@dataclass(frozen=True, slots=True)
class Target:
    """One place: its name, good inputs to begin with, and how to feed it."""

    name: str
    seeds: Sequence[bytes]
    feed: Callable[[bytes], object]


@contextmanager
def targets() -> Iterator[list[Target]]:
    """All of them, with what they need."""
    with asyncio.Runner() as runner, tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        sandbox = Sandbox(SandboxSettings(children=1, seconds=10, memory_bytes=1 << 30))
        reader = MediaReader(sandbox)
        plain = build_pack(root / "plain")
        store = runner.run(FolderStore(root / "store").open())
        bus = BusTarget(runner, store)
        try:
            yield [
                Target(
                    "image decoders", inputs.pictures(), lambda data: reader.image(_source(data), Fit(32))
                ),
                Target("video decoders", inputs.films(), lambda data: _watched(reader, data)),
                Target(
                    "sound decoders", inputs.sounds(), lambda data: reader.waveform(_source(data), Hearing())
                ),
                Target("requests at the gateway", inputs.requests(), gateway(runner, sandbox, plain, store)),
                Target("work on the bus", inputs.work(), bus.feed),
                Target("packs", inputs.manifests(), lambda data: _packed(plain, root / "damaged", data)),
                Target("lines of jobs", inputs.LINES, lambda data: parse_line(data, {})),
                Target("URLs", inputs.URLS, _url),
            ]
        finally:
            runner.run(bus.close())
            sandbox.close()


class BusTarget:
    """A stage's door on the in-process bus: every record has its end, and the door lives on."""

    def __init__(self, runner: asyncio.Runner, store: FolderStore) -> None:
        self._runner = runner
        self._bus = MemoryBus()
        self._door = runner.run(self._opened(store))

    def feed(self, data: bytes) -> object:
        """Publish the bytes as work, and wait for what the journal says."""
        return self._runner.run(self._answered(data))

    async def close(self) -> None:
        """Stop."""
        await self._door.close()
        await self._bus.close()

    async def _opened(self, store: FolderStore) -> BusDoor:
        door = BusDoor(ENTRY, ScriptedGenerator(), self._bus, store, Turns(4))
        await door.open(600_000)
        return door

    async def _answered(self, data: bytes) -> str:
        request_id = new_request_id()
        await self._bus.publish(ENTRY.topic, request_id, data, headers(request_id, now_ms() + 5_000))
        async with asyncio.timeout(10):
            async for record in self._bus.follow(topology.REPLIES, since_ms=0, key=request_id):
                reply = bus_pb2.Reply.FromString(record.value)
                if reply.request_id == request_id and reply.HasField("failure"):
                    raise InvalidInput("ended with a failure", reason=reply.failure.reason)
                if reply.request_id == request_id and reply.generated.HasField("finished"):
                    return "answered"
        raise AssertionError("the record has no end")


def gateway(
    runner: asyncio.Runner, sandbox: Sandbox, plain: Path, store: FolderStore
) -> Callable[[bytes], object]:
    """A request's way from its bytes to its admission."""
    pack = open_pack(str(plain))
    fetcher = UrlFetcher(UrlSettings(), LIMITS.media_bytes, Internet())
    admission = Admission(
        pack, Intake(pack, store, FactsReader(sandbox, LIMITS), fetcher, AllowAll()), LIMITS
    )

    def feed(data: bytes) -> object:
        request = anygpt_service_pb2.GenerateRequest()
        try:
            request.ParseFromString(data)
        except DecodeError as error:
            raise InvalidInput("gRPC refuses it", reason="UNPARSED") from error
        admission.check(request)
        return runner.run(admission.take_media(request, "default"))

    return feed


def _source(data: bytes) -> Source:
    return Source(data, LIMITS)


def _watched(reader: MediaReader, data: bytes) -> object:
    reader.facts(_source(data), "", VIDEO)
    return reader.video(_source(data), Viewing(Clips(1.0, count=2), 4), Fit(32))


def _packed(plain: Path, folder: Path, data: bytes) -> object:
    shutil.copytree(plain, folder, dirs_exist_ok=True)
    (folder / "manifest.json").write_bytes(data)
    pack = open_pack(str(folder))
    return pack.vocabulary, pack.inputs, pack.outputs


def _url(data: bytes) -> object:
    return UrlRules(["https://media.example.com", "https://*.cdn.example.org"]).read(
        data.decode("latin-1"), "url"
    )
