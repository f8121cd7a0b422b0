"""The stage that all encoders are: media in, codes or features out."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anygpt.errors import BLANK, InvalidInput, Unserved
from anygpt.main import Runtime
from anygpt.pack import InputEntry
from anygpt.stage import Call, Stage
from anygpt.topology import MODALITY_NAMES, Modality
from anygpt.v1 import stages_pb2, types_pb2
from anygpt_models.input import MediaReader, Source
from anygpt_models.serving.batching import Batcher, Batching
from anygpt_models.serving.fetching import Fetched, Fetcher
from anygpt_models.serving.tensors import to_tensor


class EncoderStage(Stage[stages_pb2.EncodeRequest, stages_pb2.EncodeResponse]):
    """Fetches media, adapts them off the event loop, encodes them on the lane; a modality adds three methods."""

    def __init__(self, modality: Modality, runtime: Runtime, batching: Batching) -> None:
        self.modality = modality
        self._runtime = runtime
        self.reader = MediaReader(runtime.sandbox)
        self._fetcher = Fetcher(runtime.store, runtime.settings.limits)
        one = Batching() if runtime.settings.deterministic else batching
        self._batcher = Batcher[NDArray[Any]](runtime.lane, self.encode, one)

    @property
    def entry(self) -> InputEntry:
        """How the pack takes this modality in. Raises Unserved when it does not."""
        entry = self._runtime.pack.inputs.get(self.modality)
        if entry is None:
            raise Unserved(f"the pack takes no {MODALITY_NAMES[self.modality]} in", field="modality")
        return entry

    @abstractmethod
    def load(self) -> None:
        """Load the models; on the lane."""

    @abstractmethod
    def adapt(self, source: Source) -> NDArray[Any]:
        """Media as the models take them, through `reader`; blocks. Raises InvalidInput for bad media."""

    @abstractmethod
    def encode(self, items: list[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Adapted media of equal shapes -> for each codes int [n] or features float [n, width]; on the lane."""

    async def read(self, output: NDArray[Any], call: Call) -> NDArray[Any]:
        """What became of one medium on the lane -> codes or features, where more is to be done off it."""
        return output

    @abstractmethod
    def blank(self) -> NDArray[Any]:
        """Adapted media with nothing in them, for the warm-up."""

    async def open(self) -> None:
        """Load the models, and run them once; meanwhile the readers of media load what they need."""
        await asyncio.to_thread(self.reader.warm)
        await self._runtime.lane.run(self.load)
        await self.probe()

    async def probe(self) -> None:
        """See Stage."""
        blank = self.blank()
        await self._runtime.lane.run(lambda: self.encode([blank]))

    async def handle(
        self, requests: AsyncIterator[stages_pb2.EncodeRequest], call: Call
    ) -> AsyncIterator[stages_pb2.EncodeResponse]:
        """One response for the request's one media part."""
        async for request in requests:
            yield await self._encoded(request, call)

    async def _encoded(self, request: stages_pb2.EncodeRequest, call: Call) -> stages_pb2.EncodeResponse:
        call.check()
        if request.modality not in (types_pb2.MODALITY_UNSPECIFIED, self.modality):
            raise InvalidInput("this encoder is for another modality", field="modality")
        self._runtime.pack.vocabulary.check_digest(request.vocabulary_digest)
        fetched = await self._fetcher.fetch(request, call)
        call.check()
        adapted, adapting_s = await self._runtime.sandbox.aside(partial(self._adapted, fetched))
        call.check()
        try:
            encoded, encoding_s = await self._batcher.run(adapted, call)
        except asyncio.CancelledError:
            call.check()
            raise
        began = time.perf_counter()
        output = await self.read(encoded, call)
        encoding_s += time.perf_counter() - began
        if not output.size:
            name, field = MODALITY_NAMES[self.modality], request.WhichOneof("source")
            raise InvalidInput(f"no {name} was found in the media", reason=BLANK, field=field or "")
        return self._response(output, adapting_s + encoding_s)

    def _adapted(self, fetched: Fetched) -> tuple[NDArray[Any], float]:
        began = time.perf_counter()
        self.reader.facts(fetched.source, fetched.claim, self.modality)
        return self.adapt(fetched.source), time.perf_counter() - began

    def _response(self, output: NDArray[Any], seconds: float) -> stages_pb2.EncodeResponse:
        response = stages_pb2.EncodeResponse(encode_ms=round(seconds * 1000))
        if np.issubdtype(output.dtype, np.integer):
            response.codes.modality = self.modality
            response.codes.ids.extend(output.tolist())
        else:
            response.features.modality = self.modality
            response.features.tensor.CopyFrom(to_tensor(output))
        return response
