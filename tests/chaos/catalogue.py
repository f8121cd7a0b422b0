"""The requests of a storm: every modality in, every modality out, each with an answer that never changes."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from itertools import cycle

from anygpt.bench_trace import SpanTrace
from anygpt.client import AsyncClient, Options, Piece, image
from anygpt.pack import packs_folder
from anygpt.v1 import anygpt_service_pb2
from tests.flow.media import sample

Request = anygpt_service_pb2.GenerateRequest
Answer = list[tuple[int, SpanTrace]]

PAIRS = (
    (("text",), ("text",)),
    (("image",), ("text", "speech")),
    (("speech",), ("text", "image")),
    (("audio",), ("text", "video")),
    (("video",), ("text", "audio")),
    (("image", "speech"), ("text",)),
    (("audio", "video"), ("speech", "image")),
    (("text",), ("text", "speech", "image", "audio", "video")),
)
WORDS = "digest one two three four five"


async def plain_catalogue(client: AsyncClient, services: Sequence[str]) -> list[Request]:
    """One request for each line of the table that the services at hand can answer."""
    made = []
    for seed, (sources, wanted) in enumerate(PAIRS):
        needed = [f"{name}_encoder" for name in sources] + [f"{name}_decoder" for name in wanted]
        if not {*services, "text_encoder", "text_decoder"}.issuperset(needed):
            continue
        pieces: list[Piece] = [sample(source) for source in sources if source != "text"]
        made.append(await client.request(*pieces, WORDS, options=Options(want=wanted, seed=100 + seed)))
    return made


async def mini_catalogue(client: AsyncClient, services: Sequence[str]) -> list[Request]:
    """What the mini pack was trained for, of text and images."""
    samples = packs_folder() / "mini" / "samples"
    asked: list[tuple[list[Piece], tuple[str, ...]]] = [
        (["Hello, how are you?"], ("text",)),
        (["Draw a cat on a blue background."], ("text", "image")),
        ([image(samples / "picture.png"), "What is in this picture?"], ("text",)),
        (["Draw a penguin on a red background."], ("image",)),
    ]
    return [
        await client.request(*pieces, options=Options(want=want, seed=seed))
        for seed, (pieces, want) in enumerate(asked)
    ]


def drawn(templates: list[Request]) -> Iterator[Request]:
    """The templates in turn, without end, each request with an idempotency key of its own."""
    run = secrets.token_hex(6)
    for number, template in enumerate(cycle(templates)):
        request = Request()
        request.CopyFrom(template)
        request.idempotency_key = f"{run}-{number}"
        yield request
