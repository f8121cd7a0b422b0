"""The only composition root: opens what services share, builds them, mounts their doors, drains and closes them."""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.metadata import entry_points
from typing import Any, Protocol

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from anygpt import topology
from anygpt.access import AccessInterceptor
from anygpt.bus import Bus
from anygpt.connections import open_access, open_bus, open_memory, open_store
from anygpt.doors import BusDoor
from anygpt.errors import InvalidInput, Unavailable
from anygpt.grpc_door import ErrorInterceptor, GrpcDoor, ReadyInterceptor
from anygpt.guard import AllowAll, Guard, GuardedStage, open_guard
from anygpt.heartbeat import Heart
from anygpt.lane import Lane
from anygpt.logs import start_logging
from anygpt.memory import Memory
from anygpt.metrics import STAGE_WAITING, serve_metrics
from anygpt.observing import ObservedStage, RpcObserver
from anygpt.pack import Pack, open_pack
from anygpt.sandbox import Sandbox
from anygpt.settings import ServiceSettings
from anygpt.stage import Stage
from anygpt.store import Store
from anygpt.tls import bind, check_exposure
from anygpt.tracing import Tracing, open_tracing
from anygpt.turns import Turns
from anygpt.v1 import stages_pb2, stages_pb2_grpc

log = logging.getLogger(__name__)
ENTRY_POINTS = "anygpt.services"
TURN_S = 0.0005
"""For how long a thread keeps the others of its process waiting."""


@dataclass(eq=False)
class Runtime:
    """What the services of one process share."""

    settings: ServiceSettings
    bus: Bus
    store: Store
    memory: Memory
    lane: Lane
    sandbox: Sandbox
    tracing: Tracing = field(default_factory=Tracing)
    guard: Guard = field(default_factory=AllowAll)
    address: str = ""
    """Where the services of this process reach one another, once it serves."""
    own_key: str = field(default_factory=secrets.token_urlsafe)
    """The credential by which they do."""

    @cached_property
    def pack(self) -> Pack:
        """The pack, opened by the first who needs it."""
        return open_pack(self.settings.pack)


class App(Protocol):
    """A service that is no stage: it mounts its own servicers and runs its own tasks."""

    def mount(self, server: grpc.aio.Server) -> Sequence[str]:
        """Add servicers; return their full proto names."""
        ...

    async def open(self) -> None:
        """Become ready."""
        ...

    async def drain(self, seconds: float) -> None:
        """Take nothing new and let what runs end."""
        ...

    async def close(self) -> None:
        """Stop."""
        ...


@dataclass(frozen=True)
class Service:
    """One service: its name in the topology, its settings, and how it is built."""

    name: str
    settings: type[ServiceSettings]
    build: Callable[[Any, Runtime], Stage[Any, Any] | App]
    concurrency: int = 8
    """Errands that a stage works on at once."""


def find_services(names: Sequence[str]) -> list[Service]:
    """The installed services by name; none named means all. Raises InvalidInput for an unknown one."""
    known = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    for name in names:
        if name not in known:
            raise InvalidInput(
                f"there is no service {name!r}; there are {', '.join(sorted(known))}", field="service"
            )
    return [
        known[name].load() for name in topology.SERVICES if name in known and (not names or name in names)
    ]


@asynccontextmanager
async def opened_runtime(settings: ServiceSettings) -> AsyncIterator[Runtime]:
    """Connect to bus, store and memory; disconnect in reverse order."""
    check_exposure(settings)
    async with AsyncExitStack() as stack:
        store = await open_store(settings)
        stack.push_async_callback(store.close)
        memory = await open_memory(settings)
        stack.push_async_callback(memory.close)
        bus = await open_bus(settings)
        stack.push_async_callback(bus.close)
        lane = Lane(settings.device)
        stack.callback(lane.close)
        tracing = open_tracing(settings.trace)
        stack.callback(tracing.close)
        sandbox = Sandbox(settings.sandbox)
        stack.callback(sandbox.close)
        yield Runtime(settings, bus, store, memory, lane, sandbox, tracing, open_guard(settings.guard))


class Process:
    """All services of one process, behind one gRPC server."""

    def __init__(self, services: Sequence[Service], runtime: Runtime) -> None:
        self._runtime = runtime
        self._settings = runtime.settings
        self._drain_s = self._settings.drain_s
        self._health = health.aio.HealthServicer()
        options = [
            ("grpc.max_receive_message_length", self._settings.limits.grpc_bytes),
            ("grpc.max_send_message_length", self._settings.limits.grpc_bytes),
            ("grpc.so_reuseport", 0),
        ]
        observer = RpcObserver(runtime.tracing, services[0].name if len(services) == 1 else "anygpt")
        access = AccessInterceptor(open_access(self._settings.access, runtime.own_key))
        ready = ReadyInterceptor(self._is_open)
        self.server = grpc.aio.server(
            interceptors=[ErrorInterceptor(), observer, access, ready], options=options
        )
        self._probe = grpc.aio.server(options=options)
        self.port = 0
        built = {service: service.build(service.settings(**self._shared()), runtime) for service in services}
        self._stages = {
            s.name: self._observed(s.name, one) for s, one in built.items() if isinstance(one, Stage)
        }
        self._apps: dict[str, App] = {s.name: one for s, one in built.items() if not isinstance(one, Stage)}
        self._open_stages: list[Stage[Any, Any]] = []
        self._open_apps: list[App] = []
        self._mounted: dict[str, App] = {}
        self._doors = [
            BusDoor(topology.STAGES[s.name], self._stages[s.name], runtime.bus, runtime.store, self._turns(s))
            for s in services
            if s.name in self._stages
        ]
        for door in self._doors:
            STAGE_WAITING.labels(door.name).set_function(partial(_waiting, door))
        digest = runtime.pack.digest if self._stages else ""
        self._heart = Heart(runtime.bus, self._doors, digest)

    def _observed(self, name: str, stage: Stage[Any, Any]) -> Stage[Any, Any]:
        stage.name = name
        return ObservedStage(GuardedStage(stage, self._runtime.guard), self._runtime.tracing)

    def _turns(self, service: Service) -> Turns:
        return Turns(service.concurrency, self._settings.limits.shares)

    def _shared(self) -> dict[str, Any]:
        return {name: getattr(self._settings, name) for name in ServiceSettings.model_fields}

    async def start(self) -> None:
        """Bind, open every service, then say that it is ready."""
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        names = [
            *self._mount_stages(),
            *(name for app in self._apps.values() for name in self._mount(app)),
        ]
        for name in (*self._stages, *self._apps, *names):
            await self._health.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
        reflection.enable_server_reflection(
            (*names, health.SERVICE_NAME, reflection.SERVICE_NAME),
            self.server,
            pool=descriptor_pool.Default(),
        )
        self.port, self._runtime.address = bind(self.server, self._settings)
        await self.server.start()
        await self._serve_health()
        serve_metrics(self._settings.metrics_port)
        await self._open()
        for name in (*self._stages, *self._apps, *names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def _serve_health(self) -> None:
        if self._settings.health_port >= 0:
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._probe)
            self._probe.add_insecure_port(f"{self._settings.host}:{self._settings.health_port}")
            await self._probe.start()

    async def _open(self) -> None:
        for name, stage in self._stages.items():
            log.info("opening %s", name)
            await stage.open()
            self._open_stages.append(stage)
        for door in self._doors:
            await door.open(self._settings.limits.deadline_ms)
        for name, app in self._apps.items():
            log.info("opening %s", name)
            await app.open()
            self._open_apps.append(app)
        self._heart.start()

    def _is_open(self, name: str) -> bool:
        """Whether the app behind a proto service is open; stages are looked at one by one, by their door."""
        return name not in self._mounted or self._mounted[name] in self._open_apps

    def _mount(self, app: App) -> Sequence[str]:
        names = app.mount(self.server)
        self._mounted |= dict.fromkeys(names, app)
        return names

    def _mount_stages(self) -> list[str]:
        names = []
        longest_ms = self._settings.limits.deadline_ms
        for kind, add, name in (
            (topology.Kind.ENCODER, stages_pb2_grpc.add_EncoderServiceServicer_to_server, "EncoderService"),
            (
                topology.Kind.GENERATOR,
                stages_pb2_grpc.add_GeneratorServiceServicer_to_server,
                "GeneratorService",
            ),
            (topology.Kind.DECODER, stages_pb2_grpc.add_DecoderServiceServicer_to_server, "DecoderService"),
        ):
            entries = [topology.STAGES[name] for name in self._stages if topology.STAGES[name].kind is kind]
            if entries:
                stages = {e.modality: self._stages[e.name] for e in entries}
                add(GrpcDoor(stages, self._open_stages.__contains__, longest_ms), self.server)
                names.append(stages_pb2.DESCRIPTOR.services_by_name[name].full_name)
        return names

    async def ended(self) -> None:
        """Wait until a stage can work no more; raises Unavailable that names it. Nothing is worth a drain then."""
        try:
            await asyncio.gather(asyncio.Event().wait(), *map(_ended, self._open_stages))
        except Unavailable as error:
            log.critical("the process ends: %s", error.message)
            self._drain_s = 0.0
            raise

    async def stop(self) -> None:
        """Refuse new work, let running work end within the drain time, then close everything in reverse order."""
        seconds = self._drain_s
        await self._health.enter_graceful_shutdown()
        await asyncio.gather(*(app.drain(seconds) for app in self._open_apps))
        await asyncio.gather(*(door.drain(seconds) for door in self._doors))
        await asyncio.gather(self.server.stop(grace=1.0), self._probe.stop(grace=1.0))
        await self._heart.stop()
        for app in reversed(self._open_apps):
            await app.close()
        for door in self._doors:
            await door.close()
        for stage in reversed(self._open_stages):
            await stage.close()


async def _ended(stage: Stage[Any, Any]) -> None:
    try:
        await stage.ended()
    except Exception as error:
        raise Unavailable(f"{stage.name} can work no more: {error}") from error


def _waiting(door: BusDoor) -> float:
    return max(0, door.running - door.capacity)


def _served(services: Sequence[Service], runtime: Runtime) -> Sequence[Service]:
    """In a process of several, those that the pack has a use for; one alone says by itself that it has none."""
    if len(services) < 2:
        return services

    def is_served(service: Service) -> bool:
        stage = topology.STAGES.get(service.name)
        if stage is None or stage.kind is topology.Kind.GENERATOR:
            return True
        known = runtime.pack.inputs if stage.kind is topology.Kind.ENCODER else runtime.pack.outputs
        return stage.modality in known

    return [service for service in services if is_served(service)]


@asynccontextmanager
async def running(services: Sequence[Service], settings: ServiceSettings) -> AsyncIterator[Process]:
    """Run services until the context ends; used by `serve` and by tests alike."""
    async with opened_runtime(settings) as runtime:
        process = Process(_served(services, runtime), runtime)
        try:
            await process.start()
            yield process
        finally:
            await process.stop()


async def serve(services: Sequence[Service], settings: ServiceSettings, ready: Callable[[int], None]) -> None:
    """Run services until SIGTERM or SIGINT; `ready` is told the port. Raises Unavailable when a stage breaks down."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(services, settings) as process:
        settle()
        ready(process.port)
        await next(asyncio.as_completed([stop.wait(), process.ended()]))


def settle() -> None:
    """Fit the interpreter for a long run beside threads.

    What lives as long as the process is passed over by garbage collections. The threads of the bus give the event loop
    its turn soon: it takes in one new call a turn, so under overload late turns become a queue before the door.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(TURN_S)


def run(service: Service) -> None:
    """Run one service by itself, settings from the environment."""
    start_logging()
    asyncio.run(
        serve([service], service.settings(), lambda port: print(f"{service.name} on port {port}", flush=True))
    )
