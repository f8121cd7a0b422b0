"""The prompt: conversation and message as the segments that the generator reads, within the context."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from anygpt import topology
from anygpt.errors import TooLarge
from anygpt.pack import ANNOUNCEMENT, Pack
from anygpt.v1 import anygpt_service_pb2, bus_pb2, stages_pb2, types_pb2
from services.gateway.read_as import MediaKey, as_read

Segment = stages_pb2.PromptSegment
Encodings = Mapping[MediaKey, bus_pb2.Encoded]
BYTES_A_TOKEN = 3


@dataclass(frozen=True, slots=True)
class Prompt:
    """What goes to the generator."""

    segments: list[Segment]
    tokens: int
    dropped_turns: int


class PromptWriter:
    """Writes prompts by the pack's template. User text never becomes a control token."""

    def __init__(self, pack: Pack, answer_tokens: int) -> None:
        self._pack = pack
        self._template = pack.manifest.prompt
        self._context = pack.manifest.base_model.context
        self._answer_tokens = min(answer_tokens, self._context // 2)
        path = str(pack.part(pack.manifest.base_model.tokenizer) / "tokenizer.json")
        self._marks = Tokenizer.from_file(path)
        self._plain = Tokenizer.from_file(path)
        self._plain.encode_special_tokens = True

    @property
    def room(self) -> int:
        """Tokens that a prompt may have."""
        return self._context - self._answer_tokens

    def check_fits(self, request: anygpt_service_pb2.GenerateRequest, durations_s: Sequence[float]) -> int:
        """The message's length in tokens at most; `durations_s` has one entry a part.

        Raises TooLarge when the message alone exceeds the context.
        """
        lengths = [self.part_length(p, s) for p, s in zip(request.parts, durations_s, strict=True)]
        fixed = self._frame_length(request.system)
        if fixed + sum(lengths) > self.room:
            raise TooLarge(
                f"the message needs {fixed + sum(lengths)} tokens; the context has room for {self.room}",
                reason="CONTEXT_EXCEEDED",
                field="parts",
            )
        return fixed + sum(lengths)

    def estimate(self, turns: Sequence[anygpt_service_pb2.Turn]) -> int:
        """About the tokens of a history, without tokenising it."""
        parts = [part for turn in turns for part in (*turn.parts, *turn.answer)]
        texts = sum(len(part.text.encode()) for part in parts) // BYTES_A_TOKEN
        media = [part for part in parts if part.HasField("media") and part.modality in self._pack.inputs]
        return texts + sum(self.part_length(part, part.media.duration_ms / 1000) for part in media)

    def most_tokens(self, request: anygpt_service_pb2.GenerateRequest, prompt_tokens: int) -> int:
        """Most tokens that prompt and answer can have together."""
        asked = {entry.modality: entry.sampling for entry in request.sampling}
        answer, is_unheard = 0, bool(request.want) and topology.TEXT not in request.want
        for modality in request.want or self._pack.outputs:
            own = asked.get(modality, types_pb2.Sampling())
            entry = self._pack.outputs[modality]
            answer += own.max_tokens if own.HasField("max_tokens") else entry.sampling.max_tokens
            answer += ANNOUNCEMENT if is_unheard and entry.announced else 0
        return min(self._context, min(self.room, prompt_tokens) + answer)

    def part_length(self, part: types_pb2.Part, duration_s: float) -> int:
        """Most tokens that a part can become."""
        if part.WhichOneof("content") == "text":
            return len(self._plain.encode(part.text, add_special_tokens=False).ids)
        entry = self._pack.inputs[part.modality]
        most = entry.length or int(entry.rate * min(duration_s, entry.max_duration_s or duration_s)) + 1
        is_marked = entry.path == "codes"
        return 2 + (self._pack.vocabulary.span_length(part.modality, most) if is_marked else most)

    def write(
        self,
        request: anygpt_service_pb2.GenerateRequest,
        turns: Sequence[anygpt_service_pb2.Turn],
        encodings: Encodings,
    ) -> Prompt:
        """The whole prompt; the oldest turns that do not fit are left out."""
        current = self._message(request.parts, encodings)
        room = self.room - self._frame_length(request.system) - self._count(current)
        if room < 0:
            raise TooLarge("the message exceeds the context", reason="CONTEXT_EXCEEDED", field="parts")
        history: list[Segment] = []
        kept = 0
        for turn in reversed(turns):
            written = self._turn(turn, encodings)
            room -= self._count(written)
            if room < 0:
                break
            history = [*written, *history]
            kept += 1
        template = self._template
        segments = [
            *self._system(request.system),
            *history,
            self._mark(template.before_user),
            *current,
            self._mark(template.after_turn + template.before_assistant),
        ]
        return Prompt(segments, self._count(segments), len(turns) - kept)

    def _turn(self, turn: anygpt_service_pb2.Turn, encodings: Encodings) -> list[Segment]:
        template = self._template
        return [
            self._mark(template.before_user),
            *self._message(turn.parts, encodings),
            self._mark(template.after_turn + template.before_assistant),
            *self._message(turn.answer, encodings),
            self._mark(self._ending(template.after_answer)),
        ]

    def _system(self, system: str) -> list[Segment]:
        text = system or self._template.system
        if not text:
            return []
        return [
            self._mark(self._template.before_system),
            Segment(text=text),
            self._mark(self._ending(self._template.after_system)),
        ]

    def _ending(self, own: str | None) -> str:
        return self._template.after_turn if own is None else own

    def _frame_length(self, system: str) -> int:
        template = self._template
        marks = template.before_user + template.after_turn + template.before_assistant
        return self._count([*self._system(system), self._mark(marks)])

    def _message(self, parts: Iterable[types_pb2.Part], encodings: Encodings) -> list[Segment]:
        segments: list[Segment] = []
        for part in parts:
            if part.WhichOneof("content") == "text":
                segments.append(Segment(text=part.text))
            else:
                segments += [_encoded(output) for output in encodings[as_read(part)].outputs]
        if self._template.speech_suffix and any(part.modality == topology.SPEECH for part in parts):
            segments.append(Segment(text=self._template.speech_suffix))
        return segments

    def _mark(self, text: str) -> Segment:
        ids = self._marks.encode(text, add_special_tokens=False).ids
        return Segment(tokens=stages_pb2.TokenIds(ids=ids))

    def _count(self, segments: Iterable[Segment]) -> int:
        return sum(self._length(segment) for segment in segments)

    def _length(self, segment: Segment) -> int:
        kind = segment.WhichOneof("content")
        if kind == "text":
            return len(self._plain.encode(segment.text, add_special_tokens=False).ids)
        if kind == "tokens":
            return len(segment.tokens.ids)
        if kind == "codes":
            return 2 + self._pack.vocabulary.span_length(segment.codes.modality, len(segment.codes.ids))
        entry = self._pack.inputs[segment.features.modality]
        return 2 + entry.length


def _encoded(output: stages_pb2.EncodeResponse) -> Segment:
    if output.HasField("codes"):
        return Segment(codes=output.codes)
    return Segment(features=output.features)
