"""The stage: the codes of what is to be said in, as they come; sound out from the first phrase on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from functools import partial

import numpy as np
from numpy.typing import NDArray

from anygpt.errors import InvalidInput
from anygpt.main import Runtime
from anygpt.pack import OutputEntry
from anygpt.stage import Call, Stage
from anygpt.topology import SPEECH
from anygpt.v1 import stages_pb2
from anygpt_models.output import Sound
from anygpt_models.serving.device import prepare_device
from anygpt_models.serving.finishing import Finisher, with_origin
from anygpt_models.serving.options import span_seed
from anygpt_models.serving.sounding import pieces
from anygpt_models.serving.spans import CodeSpace, Content, open_span
from anygpt_models.serving.stepping import Pause, Paused, steps_of
from services.speech_decoder.model import Speaker
from services.speech_decoder.settings import Settings

SAMPLE_RATE = 16_000


class SpeechDecoder(Stage[stages_pb2.DecodeRequest, stages_pb2.DecodeResponse]):
    """Speaks phrase by phrase, one phrase a turn of the lane, while the rest of the span is still being written."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        self._settings = settings
        self._runtime = runtime

    async def open(self) -> None:
        """Load the models, and say one word in each voice."""
        await self._runtime.lane.run(self._load)

    async def probe(self) -> None:
        """See Stage."""
        await self._runtime.lane.run(self._greet)

    async def handle(
        self, requests: AsyncIterator[stages_pb2.DecodeRequest], call: Call
    ) -> AsyncIterator[stages_pb2.DecodeResponse]:
        """What can be played, phrase by phrase, then the whole."""
        call.check()
        span = await open_span(requests, SPEECH, self._runtime.pack)
        finisher = Finisher(SPEECH, span.first.options, self._entry)
        voice = self._voice(span.first.voice)
        chunks = span.contents()
        work = partial(self._speak, voice, span_seed(span.first))
        said: list[NDArray[np.float32]] = []
        index, seconds = 0, 0.0
        async with aclosing(steps_of(work, self._runtime.lane, call, partial(self._next, chunks))) as steps:
            async for step in steps:
                seconds += step.seconds
                if not isinstance(step, Paused) or step.value is None:
                    continue
                said.append(step.value)
                for piece in pieces(step.value, SAMPLE_RATE, index):
                    yield piece
                    index += 1
        if not said:
            raise InvalidInput("there is nothing to say", reason="SPAN_EMPTY", field="codes")
        media = await asyncio.to_thread(finisher.finish, Sound(np.concatenate(said), SAMPLE_RATE))
        with_origin(media, span.first.seed)
        media.decode_ms += round(seconds * 1000)
        yield stages_pb2.DecodeResponse(media=media)

    @property
    def _entry(self) -> OutputEntry:
        return self._runtime.pack.outputs[SPEECH]

    def _load(self) -> None:
        prepare_device(self._settings)
        self._speaker = Speaker(self._runtime.pack)
        self._greet()

    def _greet(self) -> None:
        for voice in self._speaker.voices:
            list(self._speaker.say([self._speaker.codes("hello")], voice, 0))

    def _voice(self, voice: str) -> str:
        if voice and voice not in self._speaker.voices:
            raise InvalidInput(
                f"the voices are {', '.join(self._speaker.voices)}", reason="VOICE_UNKNOWN", field="voice"
            )
        return voice or self._speaker.voices[0]

    def _speak(self, voice: str, seed: int, pause: Pause) -> None:
        """In the work's own thread: a pause with None asks for codes, one with samples gives a phrase."""
        for samples in self._speaker.say(_asked(pause), voice, seed):
            pause(samples)

    async def _next(
        self, chunks: AsyncIterator[Content], value: NDArray[np.float32] | None
    ) -> list[int] | None:
        """The next codes, where the work asked for some; None at the end of the span."""
        if value is not None:
            return None
        content = await anext(chunks, None)
        if content is None:
            return None
        if content.signals is not None:
            raise InvalidInput("speech is made of codes", field="signals")
        space = CodeSpace(self._runtime.pack.vocabulary.codes[SPEECH].count)
        return [*space.whole(content.codes), *self._speaker.codes(content.caption)]


def _asked(pause: Pause) -> Iterator[list[int]]:
    while (codes := pause(None)) is not None:
        yield codes


def build(settings: Settings, runtime: Runtime) -> SpeechDecoder:
    """The service's stage."""
    return SpeechDecoder(settings, runtime)
