"""The errors of the system, as a short tree; each knows its gRPC status, its stable reason and whether to retry.

AnyGPTError
├── InvalidInput          INVALID_ARGUMENT     the request is wrong, in a named field
│   ├── TooLarge          INVALID_ARGUMENT     ... by its size, length or duration
│   └── ContentRefused    INVALID_ARGUMENT     ... by what it says or shows, in or out
├── Unauthenticated       UNAUTHENTICATED      no credential, or none that is known
├── Denied                PERMISSION_DENIED    a known caller without the scope that this needs
├── NotFound              NOT_FOUND            no such thing, or not the caller's
├── Conflict              ABORTED              another request holds it, or the key was used for another body
├── Precondition          FAILED_PRECONDITION  parts that do not fit together, e.g. another vocabulary
├── Unserved              UNIMPLEMENTED        a modality, an RPC or an option that this installation lacks
├── OutOfRange            OUT_OF_RANGE         beyond retention
├── Exhausted             RESOURCE_EXHAUSTED   full: try again after a delay
├── Unavailable           UNAVAILABLE          not ready, draining, or a server behind it is down
├── DataLoss              DATA_LOSS            bytes are not what their sha256 says
├── RequestCancelled      CANCELLED            somebody asked for it
└── DeadlineExpired       DEADLINE_EXCEEDED    the request's own deadline has passed
"""

from __future__ import annotations

from typing import ClassVar, cast

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from anygpt.v1 import types_pb2

DOMAIN = "anygpt"
BLANK = "MEDIA_BLANK"
"""Why an encoder refuses media in which it finds nothing."""


class AnyGPTError(Exception):
    """Something that a caller is told about, under a stable reason."""

    status: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    default_reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, *, reason: str = "", field: str = "", retry_after_ms: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.field = field
        self.retry_after_ms = retry_after_ms

    @property
    def code(self) -> int:
        """The number of the gRPC status, as google.rpc.Code has it."""
        return int(self.status.value[0])

    def to_failure(self, stage: str = "") -> types_pb2.Failure:
        """Render as the message that travels in events and on the bus."""
        return types_pb2.Failure(
            code=self.code,
            reason=self.reason,
            message=self.message,
            field=self.field,
            stage=stage,
            retry_after_ms=self.retry_after_ms,
        )

    def to_status(self, request_id: str = "") -> grpc.Status:
        """Render as a gRPC status with google.rpc details."""
        info = error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN)
        if self.field:
            info.metadata["field"] = self.field
        details = [_packed(info)]
        if self.field:
            violation = error_details_pb2.BadRequest.FieldViolation(
                field=self.field, description=self.message
            )
            details.append(_packed(error_details_pb2.BadRequest(field_violations=[violation])))
        if self.retry_after_ms:
            delay = duration_pb2.Duration()
            delay.FromMilliseconds(self.retry_after_ms)
            details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
        if request_id:
            details.append(_packed(error_details_pb2.RequestInfo(request_id=request_id)))
        return rpc_status.to_status(status_pb2.Status(code=self.code, message=self.message, details=details))


class InvalidInput(AnyGPTError):
    """The request is wrong, in a named field."""

    status = grpc.StatusCode.INVALID_ARGUMENT
    default_reason = "INVALID_INPUT"


class TooLarge(InvalidInput):
    """The request exceeds a size, a length or a duration."""

    default_reason = "TOO_LARGE"


class Unauthenticated(AnyGPTError):
    """The call has no credential, or none that is known and still valid."""

    status = grpc.StatusCode.UNAUTHENTICATED
    default_reason = "UNAUTHENTICATED"


class Denied(AnyGPTError):
    """The caller is known, and lacks the scope that this needs."""

    status = grpc.StatusCode.PERMISSION_DENIED
    default_reason = "PERMISSION_DENIED"


class ContentRefused(InvalidInput):
    """The guard does not let the content pass."""

    default_reason = "CONTENT_REFUSED"


class NotFound(AnyGPTError):
    """There is no such thing, or it is not the caller's."""

    status = grpc.StatusCode.NOT_FOUND
    default_reason = "NOT_FOUND"


class Conflict(AnyGPTError):
    """Another request holds it, or the idempotency key was used for another body."""

    status = grpc.StatusCode.ABORTED
    default_reason = "CONFLICT"


class Precondition(AnyGPTError):
    """Parts that do not fit together, such as vocabularies with different digests."""

    status = grpc.StatusCode.FAILED_PRECONDITION
    default_reason = "PRECONDITION"


class Unserved(AnyGPTError):
    """A modality, an RPC or an option that this installation does not serve."""

    status = grpc.StatusCode.UNIMPLEMENTED
    default_reason = "UNSERVED"


class OutOfRange(AnyGPTError):
    """A position beyond what is kept."""

    status = grpc.StatusCode.OUT_OF_RANGE
    default_reason = "OUT_OF_RANGE"


class Exhausted(AnyGPTError):
    """Full: the same call may succeed after the delay."""

    status = grpc.StatusCode.RESOURCE_EXHAUSTED
    default_reason = "EXHAUSTED"


class Unavailable(AnyGPTError):
    """Not ready, draining, or a server behind it is down."""

    status = grpc.StatusCode.UNAVAILABLE
    default_reason = "UNAVAILABLE"


class DataLoss(AnyGPTError):
    """Bytes are not what their sha256 says."""

    status = grpc.StatusCode.DATA_LOSS
    default_reason = "DATA_LOSS"


class RequestCancelled(AnyGPTError):
    """Somebody asked for the request to be cancelled."""

    status = grpc.StatusCode.CANCELLED
    default_reason = "CANCELLED"


class DeadlineExpired(AnyGPTError):
    """The request's own deadline has passed."""

    status = grpc.StatusCode.DEADLINE_EXCEEDED
    default_reason = "DEADLINE"


_BY_CODE: dict[int, type[AnyGPTError]] = {
    int(kind.status.value[0]): kind
    for kind in (
        AnyGPTError, InvalidInput, Unauthenticated, Denied, NotFound, Conflict, Precondition, Unserved, OutOfRange,
        Exhausted, Unavailable, DataLoss, RequestCancelled, DeadlineExpired,
    )
}  # fmt: skip


def from_failure(failure: types_pb2.Failure) -> AnyGPTError:
    """Turn a failure that arrived on the bus back into the error it was."""
    kind = _BY_CODE.get(failure.code, AnyGPTError)
    return kind(
        failure.message, reason=failure.reason, field=failure.field, retry_after_ms=failure.retry_after_ms
    )


def from_rpc_error(error: grpc.RpcError) -> AnyGPTError:
    """Turn the status of a call back into the error it was; foreign statuses keep their code.

    But for one: a server that stops ends the calls that it still has as cancelled, though nobody asked for that.
    """
    status = rpc_status.from_call(cast(grpc.Call, error))
    if status is None:
        code = error.code()
        if code is grpc.StatusCode.CANCELLED:
            return Unavailable("the server ended the call", reason=code.name)
        return _BY_CODE.get(int(code.value[0]), AnyGPTError)(error.details() or code.name, reason=code.name)
    reason, field, retry_after_ms = "", "", 0
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
            reason, field = info.reason, info.metadata.get("field", "")
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            retry_after_ms = retry.retry_delay.ToMilliseconds()
    kind = _BY_CODE.get(status.code, AnyGPTError)
    return kind(status.message, reason=reason, field=field, retry_after_ms=retry_after_ms)


def _packed(
    detail: error_details_pb2.ErrorInfo
    | error_details_pb2.BadRequest
    | error_details_pb2.RetryInfo
    | error_details_pb2.RequestInfo,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
