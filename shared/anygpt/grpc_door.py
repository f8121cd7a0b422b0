"""The gRPC door of stages, and what every gRPC server of ours does: who calls, and errors as statuses with details."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from anygpt import topology
from anygpt.access import CALLER
from anygpt.errors import AnyGPTError, InvalidInput, Unavailable, Unserved
from anygpt.identity import REQUEST_METADATA, new_id, new_request_id
from anygpt.rpc import OUR_RPCS, Behaviour, rebuilt
from anygpt.stage import Call, Stage, now_ms
from anygpt.tracing import RPC_TRACE
from anygpt.v1 import stages_pb2, stages_pb2_grpc

log = logging.getLogger(__name__)
READY_MS = 1000


def call_of(context: grpc.aio.ServicerContext[Any, Any], longest_ms: int) -> Call:
    """The errand behind an RPC: its tenant is the caller's, its deadline the client's or the longest allowed."""
    metadata = dict(context.invocation_metadata() or ())
    remaining = context.time_remaining()
    left_ms = longest_ms if remaining is None else min(longest_ms, int(remaining * 1000))
    return Call(
        request_id=str(metadata.get(REQUEST_METADATA) or new_request_id()),
        tenant=CALLER.get().tenant,
        deadline_ms=now_ms() + left_ms,
        attempt=new_id(),
        trace=RPC_TRACE.get(),
    )


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Turns AnyGPTError into its gRPC status with details, and anything else into INTERNAL without a word of it."""

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Wrap the handler, whichever of the four kinds it is; health and reflection have none of our errors."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(OUR_RPCS):
            return handler
        parse = partial(_parsed, handler)
        # Messages are parsed within, so that what is none is told as any other bad input.
        return rebuilt(handler, partial(_streaming, parse), partial(_unary, parse))._replace(
            request_deserializer=None
        )


def _streaming(parse: Behaviour, behaviour: Behaviour) -> Behaviour:
    async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
        async with _translating(context):
            async for response in behaviour(parse(request, context), context):
                yield response

    return answer


def _unary(parse: Behaviour, behaviour: Behaviour) -> Behaviour:
    async def answer(request: Any, context: Any) -> Any:
        async with _translating(context):
            return await behaviour(parse(request, context), context)

    return answer


@asynccontextmanager
async def _translating(context: Any) -> AsyncIterator[None]:
    try:
        yield
    except AnyGPTError as error:
        await context.abort_with_status(error.to_status())
    except grpc.aio.AbortError:
        raise
    except Exception:
        log.exception("a handler failed")
        await context.abort_with_status(AnyGPTError("internal error").to_status())


def _parsed(handler: Any, request: Any, context: Any) -> Any:
    """A message, or a stream of messages, of raw ones. Raises InvalidInput for bytes that are none."""
    if not handler.request_streaming:
        return _message(handler, request)
    return _messages(handler, request)


async def _messages(handler: Any, requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _message(handler, request)


def _message(handler: Any, request: bytes) -> Any:
    try:
        return handler.request_deserializer(request)
    except DecodeError:
        raise InvalidInput("the bytes are no message of this method", reason="MESSAGE_MALFORMED") from None


class ReadyInterceptor(grpc.aio.ServerInterceptor):
    """Sends callers of a service that has not opened yet away for a moment; its health tells the same."""

    def __init__(self, is_open: Callable[[str], bool]) -> None:
        self._is_open = is_open

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Wrap the handler of a service, named in full, that is not open."""
        handler = await continuation(handler_call_details)
        if handler is None or self._is_open(handler_call_details.method.split("/")[1]):
            return handler
        return rebuilt(handler, lambda _: _too_early_stream, lambda _: _too_early)


async def _too_early_stream(request: Any, context: Any) -> AsyncIterator[Any]:
    yield await _too_early(request, context)


async def _too_early(request: Any, context: Any) -> Any:
    raise _not_ready()


def _not_ready() -> Unavailable:
    return Unavailable("the service is not ready", reason="NOT_READY", retry_after_ms=READY_MS)


Stages = Mapping["topology.Modality | None", Stage[Any, Any]]
"""The stages of one kind that live in this process, by modality."""


class GrpcDoor(
    stages_pb2_grpc.EncoderServiceServicer,
    stages_pb2_grpc.GeneratorServiceServicer,
    stages_pb2_grpc.DecoderServiceServicer,
):
    """Serves the stages of one kind over gRPC; the request's modality finds its stage."""

    def __init__(self, stages: Stages, is_open: Callable[[Stage[Any, Any]], bool], longest_ms: int) -> None:
        self._stages = stages
        self._is_open = is_open
        self._longest_ms = longest_ms

    async def Encode(self, request: Any, context: Any) -> AsyncIterator[stages_pb2.EncodeResponse]:
        """See EncoderService."""
        async for response in self._answer(request.modality, _one(request), context):
            yield response

    async def GenerateTokens(
        self, request: Any, context: Any
    ) -> AsyncIterator[stages_pb2.GenerateTokensResponse]:
        """See GeneratorService."""
        async for response in self._answer(None, _one(request), context):
            yield response

    async def Decode(self, request_iterator: Any, context: Any) -> AsyncIterator[stages_pb2.DecodeResponse]:
        """See DecoderService."""
        requests = aiter(request_iterator)
        first = await anext(requests, None)
        if first is None:
            raise InvalidInput("a span has at least one chunk", field="input")
        async for response in self._answer(first.modality, _chain(first, requests), context):
            yield response

    async def _answer(self, modality: Any, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        stage = self._find(modality)
        if not self._is_open(stage):
            raise _not_ready()
        call = call_of(context, self._longest_ms)
        context.add_done_callback(lambda _: call.cancel())
        async for response in stage.handle(requests, call):
            yield response

    def _find(self, modality: Any) -> Stage[Any, Any]:
        if not modality and len(self._stages) == 1:
            return next(iter(self._stages.values()))
        stage = self._stages.get(modality)
        if stage is None:
            raise Unserved("this service does not serve that modality", field="modality")
        return stage


async def _one(request: Message) -> AsyncIterator[Message]:
    yield request


async def _chain(first: Message, rest: AsyncIterator[Message]) -> AsyncIterator[Message]:
    yield first
    async for message in rest:
        yield message
