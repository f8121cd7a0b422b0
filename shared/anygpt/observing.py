"""What is seen of every stage and every RPC: metrics, a span, and the fields of its logs. Neither holds any of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, Generic, cast

import grpc
from opentelemetry.trace import SpanKind

from anygpt import logs
from anygpt.bus import TRACE_HEADER
from anygpt.errors import AnyGPTError, DeadlineExpired, RequestCancelled, Unavailable
from anygpt.metrics import (
    CANCEL_SECONDS,
    QUEUE_SECONDS,
    REFUSALS,
    RPC_SECONDS,
    STAGE_ERRANDS,
    STAGE_RUNNING,
    STAGE_SECONDS,
)
from anygpt.rpc import OUR_RPCS, Behaviour, rebuilt
from anygpt.stage import Call, In, Out, Stage, now_ms
from anygpt.tracing import RPC_TRACE, Place, Tracing, trace_id


class ObservedStage(Stage[In, Out], Generic[In, Out]):
    """A stage whose every errand is counted, timed and traced, whichever door it came through."""

    def __init__(self, stage: Stage[In, Out], tracing: Tracing) -> None:
        self.name = stage.name
        self._stage = stage
        self._tracing = tracing
        self._is_broken = asyncio.Event()
        self._cause: Exception | None = None

    async def open(self) -> None:
        """See Stage."""
        with logs.bound(stage=self.name):
            await self._stage.open()

    async def probe(self) -> None:
        """See Stage; what it raises ends this one."""
        if self._is_broken.is_set():
            return
        try:
            await self._stage.probe()
        except AnyGPTError:
            return
        except Exception as error:  # noqa: BLE001  whatever it is, the models do not work
            self._cause = error
            self._is_broken.set()

    async def ended(self) -> None:
        """See Stage: it ends, too, when work fails unforeseen and the probe after it does."""
        await next(asyncio.as_completed([self._is_broken.wait(), self._stage.ended()]))
        raise self._cause or AnyGPTError("it has ended")

    async def close(self) -> None:
        """See Stage."""
        await self._stage.close()

    async def handle(self, requests: AsyncIterator[In], call: Call) -> AsyncIterator[Out]:
        """See Stage; what the work sends on continues its span."""
        if self._is_broken.is_set():
            raise Unavailable(f"{self.name} can work no more", retry_after_ms=1000)
        responses = cast("AsyncGenerator[Out]", self._stage.handle(requests, call))
        with self._seen(call):
            async with aclosing(responses):
                try:
                    async for response in responses:
                        yield response
                except AnyGPTError:
                    raise
                except Exception:
                    await self.probe()
                    raise

    @contextmanager
    def _seen(self, call: Call) -> Iterator[None]:
        name = self.name
        QUEUE_SECONDS.labels(name).observe(max(0, now_ms() - call.sent_ms) / 1000)
        STAGE_RUNNING.labels(name).inc()
        outcome, began = "failed", time.perf_counter()
        place = Place(name, call.trace, SpanKind.CONSUMER)
        facts: dict[str, str | int] = {
            "anygpt.request": call.request_id,
            "anygpt.tenant": call.tenant,
            "anygpt.attempt": call.attempt,
            "anygpt.queue_ms": max(0, now_ms() - call.sent_ms),
        }
        try:
            with self._tracing.span(name, place, facts) as call.trace:
                fields = {"request": call.request_id, "tenant": call.tenant, "trace": trace_id(call.trace)}
                logs.bind(stage=name, **fields)
                yield
            outcome = "finished"
        except RequestCancelled:
            outcome = "cancelled"
            CANCEL_SECONDS.labels(name).observe(max(0, now_ms() - call.cancelled_ms) / 1000)
            raise
        except DeadlineExpired:
            outcome = "expired"
            raise
        except (asyncio.CancelledError, GeneratorExit):
            outcome = "abandoned"
            raise
        finally:
            STAGE_RUNNING.labels(name).dec()
            STAGE_SECONDS.labels(name).observe(time.perf_counter() - began)
            STAGE_ERRANDS.labels(name, outcome).inc()


class RpcObserver(grpc.aio.ServerInterceptor):
    """Times and traces our own RPCs; those of health and reflection are left alone."""

    def __init__(self, tracing: Tracing, service: str) -> None:
        self._tracing = tracing
        self._service = service

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """See grpc.aio.ServerInterceptor."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(OUR_RPCS):
            return handler
        name = handler_call_details.method.removeprefix("/")
        metadata = dict(handler_call_details.invocation_metadata or ())
        place = Place(self._service, str(metadata.get(TRACE_HEADER, "")), SpanKind.SERVER)

        def streaming(behaviour: Behaviour) -> Behaviour:
            async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
                with self._seen(name, place):
                    async for response in behaviour(request, context):
                        yield response

            return answer

        def unary(behaviour: Behaviour) -> Behaviour:
            async def answer(request: Any, context: Any) -> Any:
                with self._seen(name, place):
                    return await behaviour(request, context)

            return answer

        return rebuilt(handler, streaming, unary)

    @contextmanager
    def _seen(self, name: str, place: Place) -> Iterator[None]:
        began = time.perf_counter()
        try:
            with self._tracing.span(name, place, {"rpc.system": "grpc", "rpc.method": name}) as trace:
                RPC_TRACE.set(trace)
                logs.bind(rpc=name, trace=trace_id(trace))
                yield
        except AnyGPTError as error:
            REFUSALS.labels(name, error.reason).inc()
            raise
        finally:
            RPC_SECONDS.labels(name).observe(time.perf_counter() - began)
