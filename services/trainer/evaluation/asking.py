"""Questions to a running system, many at once, as any client asks them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from anygpt.answer import Answer
from anygpt.client import AsyncClient, Options, Piece
from anygpt.errors import AnyGPTError, DeadlineExpired, Exhausted, Unavailable
from services.trainer.evaluation.judgement import Reply

AT_ONCE = 16
"""As many as the generator has slots: a step of many costs little more than a step of one."""
TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Turn:
    """One message, and the modalities that its answer must have; none: the model's choice."""

    pieces: tuple[Piece, ...]
    want: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """Turns of one conversation, of which the last is judged, and what its answer should show."""

    turns: tuple[Turn, ...]
    expected: Any
    about: str = ""
    """What was asked, for the gallery."""


async def ask_all(
    client: AsyncClient, questions: Sequence[Question], first_seed: int, told: Callable[[], None]
) -> list[tuple[Question, Reply]]:
    """Every question with its reply, in order; one that fails has an empty reply that says why.

    A question without turns is for nobody; its reply is empty. Raises Unavailable, DeadlineExpired or Exhausted where
    it is the system that does not answer: that is no answer of the pack.
    """
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(seed: int, question: Question) -> tuple[Question, Reply]:
        async with gate:
            try:
                reply = await _asked(client, question, seed)
            except (DeadlineExpired, Exhausted, Unavailable):
                raise
            except AnyGPTError as error:
                reply = Reply(failure=f"{error.reason}: {error.message}")
            told()
            return question, reply

    waiting: list[Awaitable[tuple[Question, Reply]]] = [
        one(*pair) for pair in enumerate(questions, first_seed)
    ]
    return list(await asyncio.gather(*waiting))


async def _asked(client: AsyncClient, question: Question, seed: int) -> Reply:
    if not question.turns:
        return Reply()
    conversation = await client.new_conversation() if len(question.turns) > 1 else ""
    answer = Answer()
    for turn in question.turns:
        options = Options(
            want=turn.want, conversation_id=conversation, seed=seed, is_batch=True, timeout_s=TIMEOUT_S
        )
        answer = await client.answer(*turn.pieces, options=options)
    return await _reply(client, answer)


async def _reply(client: AsyncClient, answer: Answer) -> Reply:
    spans = [span for _, span in sorted(answer.spans.items())]
    files: dict[str, bytes] = {}
    for span in spans:
        if span.media is not None and span.modality not in files:
            files[span.modality] = await client.download(span.media.object)
    failed = next((span.failure.reason for span in spans if span.failure), "")
    cut = tuple(span.is_truncated for span in spans)
    return Reply(answer.text, tuple(span.modality for span in spans), files, cut, failed)
