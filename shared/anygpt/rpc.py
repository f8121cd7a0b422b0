"""gRPC handlers with something around them: what interceptors share, whichever of the four kinds a handler is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import grpc

Behaviour: TypeAlias = Callable[[Any, Any], Any]
Wrapper: TypeAlias = Callable[[Behaviour], Behaviour]

OUR_RPCS = "/anygpt."
"""How the methods of our own contracts begin; health and reflection are others' code."""


def rebuilt(handler: Any, streaming: Wrapper, unary: Wrapper) -> Any:
    """The handler with its behaviour wrapped: by `streaming` if it answers with a stream, by `unary` if not."""
    if handler.response_streaming:
        kind = (
            grpc.stream_stream_rpc_method_handler
            if handler.request_streaming
            else grpc.unary_stream_rpc_method_handler
        )
        behaviour = streaming(handler.stream_stream or handler.unary_stream)
    else:
        kind = (
            grpc.stream_unary_rpc_method_handler
            if handler.request_streaming
            else grpc.unary_unary_rpc_method_handler
        )
        behaviour = unary(handler.stream_unary or handler.unary_unary)
    return kind(behaviour, handler.request_deserializer, handler.response_serializer)
