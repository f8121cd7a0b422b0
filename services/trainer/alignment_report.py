"""How well the aligned model does, on requests in wordings that it has never seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch.nn import functional

from services.trainer.alignment_answer import Answer, Answerer
from services.trainer.alignment_media import Conditions, Features, sources
from services.trainer.alignment_sequence import TokenSequence
from services.trainer.alignment_setup import Alignment
from services.trainer.data import dialogues, world
from services.trainer.data.messages import MEDIA, Dialogue
from services.trainer.device import mixed_precision
from services.trainer.recipe import Recipe

PROMPTS = 160
_ENGLISH = (
    "The old lighthouse stood at the end of a narrow road. Every evening its keeper climbed up to light the lamp.",
    "Water boils at one hundred degrees Celsius at sea level, but on a high mountain it boils at a lower temperature.",
    "She opened the letter slowly, read it twice, and then put it back on the table without saying a word.",
    "To make a good loaf of bread you need flour, water, salt and yeast, and above all you need patience.",
    "The train was late because heavy snow had fallen during the night and two trees were lying on the tracks.",
    "In the nineteenth century many people left their villages to look for work in the growing cities of Europe.",
    "A computer program is a list of instructions that tells a machine what to do, one small step after another.",
    "Children who read every day learn new words quickly and often find it easier to write good stories of their own.",
)


def run_report(recipe: Recipe) -> None:
    """Print the numbers of the pack as it is."""
    for line in report(recipe, Alignment.open(recipe)):
        print(line)


def report(recipe: Recipe, alignment: Alignment) -> list[str]:
    """Answers to held-out dialogues, compared with what was wanted."""
    answerer = Answerer(
        alignment.model, alignment.sequencer, Features(sources(recipe, held_out=True), alignment.words)
    )
    asked = [d for d in dialogues.build(2 * PROMPTS, 5, alignment.talk, held_out=True) if not d.forced][
        :PROMPTS
    ]
    torch.manual_seed(5)
    answers = _answers(answerer, [alignment.sequencer.prompt(dialogue) for dialogue in asked])
    return [*_judged(answerer, asked, answers), _drawn(recipe, alignment, answerer), _perplexity(alignment)]


def _answers(answerer: Answerer, prompts: Sequence[TokenSequence]) -> list[Answer]:
    found: dict[int, Answer] = {}
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place].ids))
    for first in range(0, len(order), 32):
        places = order[first : first + 32]
        found |= zip(places, answerer.answer([prompts[place] for place in places]), strict=True)
    return [found[place] for place in range(len(prompts))]


def _judged(answerer: Answerer, asked: Sequence[Dialogue], answers: Sequence[Answer]) -> list[str]:
    scores: dict[str, list[bool]] = {}
    for dialogue, answer in zip(asked, answers, strict=True):
        request, wanted = dialogue.turns[-1]
        made = answerer.parts(answer)
        switched = [part.modality for part in made] == [part.modality for part in wanted]
        scores.setdefault("modalities", []).append(switched)
        if any(part.modality == "speech" for part in request):
            scores.setdefault("modalities of spoken requests", []).append(switched)
        if dialogue.family != "chat":
            words = [part.content for part in wanted if part.modality not in MEDIA]
            said = [part.content for part in made if part.modality not in MEDIA]
            scores.setdefault(f"exact words: {dialogue.family}", []).append(words == said)
        if not switched or (dialogue.family != "chat" and words != said):
            print("-", dialogue.family, [*request], "wanted", [*wanted], "made", made)
    return [f"{name:32} {sum(right)} of {len(right)}" for name, right in sorted(scores.items())]


def _drawn(recipe: Recipe, alignment: Alignment, answerer: Answerer) -> str:
    """Whether the condition of a picture is nearest to the right one among all captions of pictures."""
    conditions = Conditions.of_pack(recipe.pack)
    captions = [world.caption(scene) for scene in world.scenes()]
    known = conditions("image", captions).flatten(1)
    writer = dialogues.Writer(7, alignment.talk, held_out=True)
    asked = [writer.request(writer.scene()) for _ in range(64)]
    prompts = [alignment.sequencer.prompt(dialogue) for dialogue in asked]
    lines = []
    for opening in (None, "image"):
        answers = answerer.answer(prompts, "image" if opening else None)
        right = kind = 0
        for dialogue, answer in zip(asked, answers, strict=True):
            if not answer.signals or len(answer.signals[0]) != 4:
                continue
            condition = alignment.model.out["image"](torch.stack(answer.signals[0])[None]).float().flatten(1)
            nearest = captions[int(torch.cdist(condition, known).argmin())]
            wanted = dialogue.turns[-1].answer[-1].content
            right += nearest == wanted
            kind += nearest.split(" on ")[0] == wanted.split(" on ")[0]
        lines.append(
            f"{'at once' if opening else 'after text'}: {right} scenes, {kind} things of {len(asked)}"
        )
    return f"{'nearest caption of a picture':32} {'; '.join(lines)}"


@torch.no_grad()
def _perplexity(alignment: Alignment) -> str:
    """Plain English: the aligned model against the base model."""
    found = []
    for lora in (alignment.model.adapter.lora.left_out(), nullcontext()):
        losses = []
        with lora:
            for text in _ENGLISH:
                ids = torch.tensor([alignment.sequencer.tokens(text)])
                with mixed_precision():
                    logits = alignment.model.base(input_ids=ids).logits[0, :-1].float()
                losses.append(functional.cross_entropy(logits, ids[0, 1:], reduction="none"))
        found.append(math.exp(float(torch.cat(losses).mean())))
    return f"{'perplexity of plain English':32} base {found[0]:.2f}, aligned {found[1]:.2f}"
