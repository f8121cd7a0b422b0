"""The token generator's stage: checks a request, runs it in the engine, yields its spans."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from anygpt.errors import InvalidInput, TooLarge, Unserved
from anygpt.lane import Lane
from anygpt.main import Runtime
from anygpt.pack import Pack
from anygpt.stage import Call, Stage
from anygpt.topology import MODALITY_NAMES, TEXT, Modality
from anygpt.v1 import stages_pb2
from services.llm.engine import Engine
from services.llm.generation import Generation, Order
from services.llm.grammar import read_rules
from services.llm.pages import PAGE
from services.llm.prompt import PromptReader
from services.llm.sampling import SpanSampling, read_sampling
from services.llm.scheduler import Bounds
from services.llm.settings import LlmSettings
from services.llm.step import Vectors
from services.llm.tokeniser import Tokeniser

FIXED_ROWS = 16
"""Positions of every step in deterministic mode."""

Request = stages_pb2.GenerateTokensRequest
Response = stages_pb2.GenerateTokensResponse


class LlmStage(Stage[Request, Response]):
    """One pack's language model, many requests at once."""

    def __init__(self, pack: Pack, lane: Lane, settings: LlmSettings) -> None:
        self._pack = pack
        self._lane = lane
        self._settings = settings
        self._context = pack.manifest.base_model.context

    async def open(self) -> None:
        """Load the model and run every shape of a step once."""
        from services.llm.model.loading import RunnerOptions, adapter_names, load_runner

        settings, pack = self._settings, self._pack
        rows = max(FIXED_ROWS if settings.deterministic else settings.step_rows, settings.slots)
        # One request may fill the context; the page that its beginning is copied from must stay beside it.
        pages = max(settings.cache_tokens, self._context + PAGE) // PAGE + 1
        options = RunnerOptions(
            settings.cache.expanduser(),
            pages,
            rows,
            settings.dtype,
            settings.device,
            settings.deterministic,
            settings.threads,
        )
        self._runner = await self._lane.run(lambda: load_runner(pack, options))
        self._adapters = adapter_names(pack)
        self._tokeniser = Tokeniser(
            pack.part(pack.manifest.base_model.tokenizer) / "tokenizer.json", pack.vocabulary.text_size
        )
        self._reader = PromptReader(pack, self._tokeniser)
        self._rules = read_rules(pack, self._tokeniser)
        bounds = Bounds(settings.slots, rows, settings.waiting_requests, settings.waiting_tokens, pages)
        self.engine = Engine(self._runner, self._lane, bounds)
        await self._lane.run(self._runner.warm_up)
        self.engine.start()

    async def handle(self, requests: AsyncIterator[Request], call: Call) -> AsyncIterator[Response]:
        """One request in, its spans out. Raises InvalidInput, Unserved, Precondition or Exhausted before any work."""
        async for request in requests:
            call.check()
            generation = await self._check(request, call)
            async with aclosing(self.engine.generate(generation)) as responses:
                async for response in responses:
                    yield response

    async def probe(self) -> None:
        """See Stage."""
        await self.engine.probe()

    async def ended(self) -> None:
        """See Stage."""
        await self.engine.ended()

    async def close(self) -> None:
        """Stop stepping."""
        await self.engine.close()

    async def _check(self, request: Request, call: Call) -> Generation:
        self._pack.vocabulary.check_digest(request.vocabulary_digest)
        want = self._want(request)
        if request.adapter and request.adapter not in self._adapters:
            raise InvalidInput("the pack has no such adapter", reason="ADAPTER_UNKNOWN", field="adapter")
        sampling = read_sampling(request.sampling, self._rules.outputs)
        self._check_budgets(request, want, sampling)

        async def project(modality: Modality, features: Vectors) -> Vectors:
            return await self._lane.run(lambda: self._runner.project(modality, features), batch=call.is_batch)

        prompt = await self._reader.read(request.prompt, project)
        needed = max(1, sum(map(self._rules.room, want)))
        if len(prompt.keys) + needed > self._context:
            raise TooLarge(
                "the prompt leaves no room for an answer", reason="CONTEXT_EXCEEDED", field="prompt"
            )
        closed = frozenset(request.closed) - {TEXT, *want}
        order = Order(
            prompt, want, sampling, request.seed, tuple(request.forced_ids), closed, request.adapter,
            self._settings.deterministic,
        )  # fmt: skip
        return Generation(order, call, self._rules, self._tokeniser, self._context)

    def _want(self, request: Request) -> tuple[Modality, ...]:
        for index, modality in enumerate(request.want):
            if modality not in self._rules.outputs:
                name = MODALITY_NAMES.get(modality, "that modality")
                raise Unserved(f"this pack does not make {name}", field=f"want[{index}]")
        return tuple(dict.fromkeys(request.want))

    def _check_budgets(
        self, request: Request, want: tuple[Modality, ...], sampling: dict[Modality, SpanSampling]
    ) -> None:
        for index, entry in enumerate(request.sampling):
            if entry.modality in want and sampling[entry.modality].max_tokens < self._rules.fewest(
                entry.modality
            ):
                raise InvalidInput("too few for one span", field=f"sampling[{index}].sampling.max_tokens")


def build(settings: LlmSettings, runtime: Runtime) -> LlmStage:
    """The stage in a process."""
    return LlmStage(runtime.pack, runtime.lane, settings)
