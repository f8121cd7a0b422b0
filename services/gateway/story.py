"""The story of one request: its records in the journal, hop by hop, with times and with nothing of its content."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from google.protobuf import timestamp_pb2

from anygpt import topology
from anygpt.bus import TRACE_HEADER, Bus, Record
from anygpt.errors import NotFound
from anygpt.tracing import trace_id
from anygpt.v1 import anygpt_service_pb2, bus_pb2, types_pb2
from services.gateway.lookup import first_record_s, journal_of, next_record
from services.gateway.streams import parse_reply

QUIET_S = 1.0
"""A request without a terminal event is told up to where its journal falls silent for so long."""
Story = anygpt_service_pb2.InspectResponse


async def read_story(bus: Bus, tenant: str, request_id: str) -> Story:
    """Raises NotFound unless the request is the tenant's, OutOfRange when its journal is no longer kept."""
    story = Story(request_id=request_id)
    latest: dict[tuple[str, int, str], anygpt_service_pb2.JournalEntry] = {}
    async for record, reply in _records(bus, request_id):
        if reply.HasField("accepted") and reply.accepted.tenant != tenant:
            break
        story.trace_id = story.trace_id or trace_id(record.headers.get(TRACE_HEADER, ""))
        what, detail = _told(reply)
        place = (reply.stage, reply.span_index, reply.attempt)
        entry = latest.get(place)
        if entry is None or (entry.what, entry.detail) != (what, detail):
            entry = latest[place] = story.entries.add(
                stage=reply.stage, span_index=reply.span_index, attempt=reply.attempt, what=what, detail=detail,
                first_at=_stamp(record.timestamp_ms),
            )  # fmt: skip
        entry.last_at.CopyFrom(_stamp(record.timestamp_ms))
        entry.records += 1
        story.ended = story.ended or reply.HasField("terminal")
    if not any(entry.what == "accepted" for entry in story.entries):
        raise NotFound("there is no such request", field="request_id")
    return story


async def _records(bus: Bus, request_id: str) -> AsyncIterator[tuple[Record, bus_pb2.Reply]]:
    """The request's records up to its terminal one, or to a silence."""
    async with aclosing(journal_of(bus, request_id)) as records:
        quiet_s = first_record_s(request_id)
        while (record := await next_record(records, request_id, quiet_s)) is not None:
            reply = parse_reply(record)
            if reply is not None:
                quiet_s = QUIET_S
                yield record, reply
                if reply.HasField("terminal"):
                    return


def _told(reply: bus_pb2.Reply) -> tuple[str, str]:
    """What a record is, and the figures beside it."""
    body = reply.WhichOneof("body") or "nothing"
    if body == "generated":
        kind = reply.generated.WhichOneof("output") or "nothing"
        return kind, _of_generated(reply, kind)
    if body == "decoded":
        made = reply.decoded.WhichOneof("output") or "nothing"
        return made, _of_media(reply.decoded.media.ready.media) if made == "media" else ""
    if body == "terminal":
        outcome = reply.terminal.WhichOneof("outcome") or "nothing"
        return outcome, reply.terminal.failed.failure.reason
    details = {
        "accepted": f"{len(reply.accepted.request.parts)} parts",
        "encoded": f"{reply.encoded.encode_ms} ms",
        "composed": f"{reply.composed.prompt_tokens} tokens, {reply.composed.dropped_turns} turns dropped",
        "failure": reply.failure.reason,
    }
    return body, details.get(body, "")


def _of_generated(reply: bus_pb2.Reply, kind: str) -> str:
    if kind == "span_opened":
        return topology.MODALITY_NAMES.get(reply.generated.span_opened.modality, "")
    if kind == "finished":
        usage = reply.generated.finished.usage
        return f"{usage.prompt_tokens} tokens read, {usage.generated_tokens} written"
    return ""


def _of_media(media: types_pb2.MediaRef) -> str:
    return f"{media.media_type}, {media.size_bytes} bytes"


def _stamp(unix_ms: int) -> timestamp_pb2.Timestamp:
    stamp = timestamp_pb2.Timestamp()
    stamp.FromMilliseconds(unix_ms)
    return stamp
