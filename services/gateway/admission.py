"""Admission: what may become a request. Everything that can be refused is refused here, before `started`."""

from __future__ import annotations

from collections.abc import Sequence

from anygpt import topology
from anygpt.errors import InvalidInput, TooLarge
from anygpt.pack import Pack
from anygpt.settings import LimitSettings
from anygpt.v1 import anygpt_service_pb2, types_pb2
from anygpt_models.serving.options import check_options
from anygpt_models.serving.sampling import check_sampling
from services.gateway.intake import Intake, check_served

Request = anygpt_service_pb2.GenerateRequest
KEY_BYTES = 128


class Admission:
    """Checks a request, then has its media taken in."""

    def __init__(self, pack: Pack, intake: Intake, limits: LimitSettings) -> None:
        self._pack = pack
        self._intake = intake
        self._limits = limits

    def check(self, request: Request) -> None:
        """Check all that needs no look at media. Raises InvalidInput, TooLarge or Unserved with the field."""
        if not request.parts:
            raise InvalidInput("a message has at least one part", reason="EMPTY_REQUEST", field="parts")
        if len(request.parts) > self._limits.parts:
            raise TooLarge(f"a message has at most {self._limits.parts} parts", field="parts")
        if len(request.idempotency_key.encode()) > KEY_BYTES:
            raise TooLarge(f"a key has at most {KEY_BYTES} bytes", field="idempotency_key")
        if request.priority not in types_pb2.Priority.values():
            raise InvalidInput("there is no such priority", field="priority")
        if request.HasField("grace") and request.grace.ToMilliseconds() < 0:
            raise InvalidInput("a grace time is not negative", field="grace")
        for i, part in enumerate(request.parts):
            self._check_part(part, f"parts[{i}]")
        for i, modality in enumerate(request.want):
            check_served(modality, f"want[{i}]", self._pack.outputs)
        self._check_settings(request)
        if request.voice and request.voice not in self._pack.manifest.voices:
            raise InvalidInput("there is no such voice", reason="VOICE_UNKNOWN", field="voice")

    async def take_media(self, request: Request, tenant: str) -> list[float]:
        """See Intake."""
        return await self._intake.take(request, tenant)

    def _check_part(self, part: types_pb2.Part, field: str) -> None:
        kind = part.WhichOneof("content")
        if part.modality not in types_pb2.Modality.values():
            raise InvalidInput(
                "there is no such modality", reason="MODALITY_UNKNOWN", field=f"{field}.modality"
            )
        if kind is None:
            raise InvalidInput("the part has no content", reason="EMPTY_PART", field=field)
        if kind == "text":
            self._check_text(part, field)
        elif part.modality == topology.TEXT:
            raise InvalidInput("text goes into `text`", reason="MODALITY_MISMATCH", field=f"{field}.modality")
        elif part.modality:
            check_served(part.modality, f"{field}.modality", self._pack.inputs)
        if kind == "url":
            self._intake.check_url(part.url, f"{field}.url")
        if kind == "inline" and len(part.inline.data) > self._limits.inline_bytes:
            raise TooLarge(
                f"inline media has at most {self._limits.inline_bytes} bytes; upload it",
                field=f"{field}.inline",
            )

    def _check_text(self, part: types_pb2.Part, field: str) -> None:
        if part.modality not in (types_pb2.MODALITY_UNSPECIFIED, topology.TEXT):
            raise InvalidInput(
                "`text` is of modality text", reason="MODALITY_MISMATCH", field=f"{field}.modality"
            )
        if not part.text.strip():
            raise InvalidInput("the text is empty", reason="EMPTY_PART", field=f"{field}.text")
        if len(part.text.encode()) > self._limits.inline_bytes:
            raise TooLarge(f"text has at most {self._limits.inline_bytes} bytes", field=f"{field}.text")
        part.modality = topology.TEXT

    def _check_settings(self, request: Request) -> None:
        _check_unique([s.modality for s in request.sampling], "sampling")
        _check_unique([o.modality for o in request.output], "output")
        for i, entry in enumerate(request.sampling):
            check_served(entry.modality, f"sampling[{i}].modality", self._pack.outputs)
            check_sampling(entry.sampling, entry.modality, f"sampling[{i}].sampling")
        for i, options in enumerate(request.output):
            check_served(options.modality, f"output[{i}].modality", self._pack.outputs)
            served = self._pack.outputs[options.modality]
            check_options(options, options.modality, served, f"output[{i}]")


def _check_unique(modalities: Sequence[int], field: str) -> None:
    for i, modality in enumerate(modalities):
        if modality in modalities[:i]:
            raise InvalidInput(
                "a modality has at most one entry", reason="DUPLICATE", field=f"{field}[{i}].modality"
            )
