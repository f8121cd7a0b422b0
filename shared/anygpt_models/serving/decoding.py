"""The stage that diffusion decoders are: one span in, progress and finished media out."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TypeAlias

import numpy as np

from anygpt.errors import Unserved
from anygpt.main import Runtime
from anygpt.pack import OutputEntry
from anygpt.stage import Call, Stage
from anygpt.topology import DECODERS, MODALITY_NAMES, Modality
from anygpt.v1 import anygpt_service_pb2, stages_pb2, types_pb2
from anygpt_models.output import Media
from anygpt_models.serving.drawing import Drawing, OnStep
from anygpt_models.serving.finishing import Finisher, with_origin
from anygpt_models.serving.options import Diffusion, diffusion_of, span_seed
from anygpt_models.serving.spans import CodeSpace, Content, Request, open_span
from anygpt_models.serving.stepping import Finished, Pause, steps_of

Response: TypeAlias = stages_pb2.DecodeResponse


class DecoderStage(Stage[Request, Response]):
    """Draws on the lane, one denoising step a turn; finishes off the event loop. A modality adds its models."""

    def __init__(self, modality: Modality, runtime: Runtime) -> None:
        self.modality = modality
        self._runtime = runtime

    @property
    def entry(self) -> OutputEntry:
        """How the pack lets this modality out. Raises Unserved when it does not."""
        entry = self._runtime.pack.outputs.get(self.modality)
        if entry is None:
            raise Unserved(f"the pack gives no {MODALITY_NAMES[self.modality]}", field="modality")
        return entry

    @property
    @abstractmethod
    def code_space(self) -> CodeSpace:
        """The codes that the codec takes; known once the models are loaded."""

    @abstractmethod
    def load(self) -> None:
        """Load the models; on the lane."""

    @abstractmethod
    def draw(self, drawing: Drawing, on_step: OnStep) -> Media:
        """Make the media; `on_step(done, of)` after each denoising step."""

    def play(self, media: Media) -> list[Response]:
        """Pieces that can be played before the file is finished."""
        return []

    async def open(self) -> None:
        """Load the models, and make one file."""
        finisher = Finisher(self.modality, types_pb2.OutputOptions(), self.entry)
        await self._runtime.lane.run(self.load)
        await asyncio.to_thread(finisher.finish, await self._drawn())

    async def probe(self) -> None:
        """See Stage."""
        await self._drawn()

    async def _drawn(self) -> Media:
        """Media of nothing: in one step from signals, or from codes where the pack has no signals."""
        content = Content(caption="nothing")
        place = self._runtime.pack.vocabulary.signals.get(self.modality)
        if place is not None:
            hidden = self._runtime.pack.manifest.base_model.hidden_size
            content = Content(signals=np.zeros((place.count, hidden), dtype=np.float32))
        elif self.entry.path == "codes":
            content = Content(codes=(0,) * (self.code_space.length or self.code_space.step))
        drawing = Drawing(content, Diffusion(1, self.entry.guidance), 0)
        return await self._runtime.lane.run(lambda: self.draw(drawing, lambda done, of: None))

    async def handle(self, requests: AsyncIterator[Request], call: Call) -> AsyncIterator[Response]:
        """Progress at each step, what can be played, and the media."""
        call.check()
        span = await open_span(requests, self.modality, self._runtime.pack)
        finisher = Finisher(self.modality, span.first.options, self.entry)
        diffusion = diffusion_of(span.first.options, self.entry)
        content = await span.whole()
        if content.codes:
            content = Content(self.code_space.whole(content.codes))
        drawing = Drawing(content, diffusion, span_seed(span.first))
        seconds = 0.0
        async with aclosing(
            steps_of(lambda pause: self.draw(drawing, _told(pause)), self._runtime.lane, call)
        ) as steps:
            async for step in steps:
                seconds += step.seconds
                if isinstance(step, Finished):
                    drawn = step.result
                else:
                    yield Response(progress=self._progress(*step.value))
        for piece in self.play(drawn):
            yield piece
        call.check()
        media = await asyncio.to_thread(finisher.finish, drawn)
        with_origin(media, span.first.seed, None if content.codes else diffusion)
        media.decode_ms += round(seconds * 1000)
        yield Response(media=media)

    def _progress(self, done: int, of: int) -> anygpt_service_pb2.Progress:
        return anygpt_service_pb2.Progress(stage=DECODERS[self.modality].name, done=done, total=of)


def _told(pause: Pause) -> OnStep:
    return lambda done, of: pause((done, of))
