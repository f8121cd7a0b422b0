"""Decode-side alignment: what the finished model says at its signal tokens becomes the condition of a decoder.

NExT-GPT's second stage: the language model is frozen. It reads thousands of requests once, each in words of its own;
then the output projections are fitted to what it said.
"""

from __future__ import annotations

import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from anygpt.vocabulary import ModalityName
from anygpt.whole import written_whole
from anygpt_models.part import Part
from services.trainer.alignment_conditions import ConditionLoss
from services.trainer.alignment_media import Conditions, Features, sources
from services.trainer.alignment_model import gathered
from services.trainer.alignment_sequence import TokenSequence, batches, collate
from services.trainer.alignment_setup import Alignment
from services.trainer.alignment_sheets import decoded
from services.trainer.data import dialogues, ideas, world
from services.trainer.data.composed import Composition
from services.trainer.data.ideas import Sound
from services.trainer.data.messages import Dialogue
from services.trainer.data.split import shows_held_out
from services.trainer.device import here, mixed_precision
from services.trainer.loop import Run, train
from services.trainer.processes import once
from services.trainer.recipe import Recipe
from services.trainer.sheet import Sample

AMOUNTS = {"chunk": 480, "chunks": 80, "batch_tokens": 1024, "fit_steps": 6000}
"""Requests that are read, and kept on disk, at once; how often; steps of a fit at most."""
READING = 0.4
"""Share of the minutes in which requests are read."""
FITTING: dict[ModalityName, float] = {"image": 0.3, "video": 0.15, "audio": 0.15}
"""Share in which each projection is fitted; that of pictures tells three things apart, so it takes longest."""
FAMILIES: dict[str, int] = {"image": 32, "video": 28, "audio": 24, "dialogue": 16}
"""How often a plain request for a modality comes, and a dialogue of any family."""
SCENE_FAMILIES: dict[str, int] = {"scene": 90, "scene_follow": 10}
"""The same for composed scenes, whose second and third thing are learned from many."""
ALONE = 0.25
"""Share of a fit that is for single things alone."""
FIT_ROWS = 96
NOISE = 0.1
"""Noise on each number of a signal, as a share of its spread: no wording should be learned by heart."""


@dataclass(frozen=True)
class Signals:
    """Signals [N, count, width] of one modality, and the captions that they stand for."""

    vectors: Tensor
    captions: list[str]


Read = Callable[[int], Mapping[ModalityName, Signals]]
"""Chunk -> its signals."""


def signal(recipe: Recipe, alignment: Alignment) -> None:
    """Read requests within the budget, then fit the output projections to their signals."""
    folder = recipe.folder / "signals"
    once(lambda: _read_all(recipe, alignment, folder))
    loss = ConditionLoss(Conditions.of_pack(recipe.pack))
    steps = min(recipe.amount(AMOUNTS)["fit_steps"], recipe.steps)
    for modality, found in kept_signals(folder).items():
        projection = alignment.model.out[modality]
        assert isinstance(projection, Part)
        for name, some, share in lessons(f"alignment_{modality}_output", found):
            short = replace(recipe, steps=steps, minutes=share * FITTING[modality] * recipe.minutes)
            run = short.run(name, learning_rate=1e-3, bf16=False)
            project = partial(_projected, projection, some.vectors)
            _fit(run, projection, modality, some, loss, decoded(recipe, modality, project, some.captions))
        recipe.keep(projection, f"{modality}_output_projection")


def kept_signals(folder: Path) -> dict[ModalityName, Signals]:
    """All signals that were kept, by modality."""
    vectors: dict[ModalityName, list[Tensor]] = defaultdict(list)
    captions: dict[ModalityName, list[str]] = defaultdict(list)
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for modality, found in json.loads(file.metadata()["captions"]).items():
                vectors[modality].append(file.get_tensor(modality).to(here()).float())
                captions[modality] += found
    return {modality: Signals(torch.cat(vectors[modality]), captions[modality]) for modality in vectors}


def read_within(folder: Path, chunks: int, minutes: float, read: Read) -> None:
    """Read and keep the chunks that are not there yet, until the minutes are over; those of earlier runs count."""
    spent = sum(_seconds(path) for path in folder.glob("*.safetensors"))
    for chunk in range(chunks):
        path = folder / f"{chunk:04}.safetensors"
        if path.exists():
            continue
        if spent > 60 * minutes:
            return
        began = time.monotonic()
        found = read(chunk)
        seconds = time.monotonic() - began
        _keep(found, seconds, path)
        spent += seconds
        print(f"alignment_signals chunk {chunk + 1} of {chunks}", flush=True)


def _seconds(path: Path) -> float:
    """How long a chunk was read."""
    with safe_open(path, framework="pt") as file:
        return float(file.metadata()["seconds"])


def _keep(found: Mapping[ModalityName, Signals], seconds: float, path: Path) -> None:
    captions = {modality: signals.captions for modality, signals in found.items()}
    tensors = {str(modality): signals.vectors for modality, signals in found.items()}
    facts = {"captions": json.dumps(captions), "seconds": f"{seconds}"}
    with written_whole(path) as unfinished:
        save_file(tensors, unfinished, metadata=facts)


def _read_all(recipe: Recipe, alignment: Alignment, folder: Path) -> None:
    reader, chunks = _Reader(recipe, alignment), recipe.amount(AMOUNTS)["chunks"]
    folder.mkdir(parents=True, exist_ok=True)
    read_within(folder, chunks, READING * recipe.minutes, reader.read)


class _Reader:
    """Lets the model read requests; what a chunk asks for depends on its number alone."""

    def __init__(self, recipe: Recipe, alignment: Alignment) -> None:
        self.alignment = alignment
        self.features = Features(sources(recipe), alignment.words)
        self.amounts = recipe.amount(AMOUNTS)

    @torch.no_grad()
    def read(self, chunk: int) -> dict[ModalityName, Signals]:
        """The signals of a chunk."""
        model, found = self.alignment.model, defaultdict[ModalityName, list[Signals]](list)
        for group in batches(self._sequences(chunk), self.amounts["batch_tokens"]):
            batch = collate(group, pad=0)
            with mixed_precision():
                states, embeddings = model.hidden(batch, self.features)
            for modality, slots in gathered(batch.signals):
                vectors = model.signals_at(modality, slots, states, embeddings)
                found[modality].append(Signals(vectors, [slot.caption for _, slot in slots]))
        return {modality: _joined(parts) for modality, parts in found.items()}

    def _sequences(self, chunk: int) -> list[TokenSequence]:
        pick = random.Random(chunk)
        writer = dialogues.Writer(1000 + chunk, self.alignment.talk, held_out=False)
        found: list[TokenSequence] = []
        while len(found) < self.amounts["chunk"]:
            dialogue = _dialogue(writer, pick)
            sequence = self.alignment.sequencer.sequence(dialogue)
            found += [sequence] if sequence.signals and not shows_held_out(dialogue) else []
        return found


def _joined(parts: list[Signals]) -> Signals:
    """As they are kept; an accelerator has ended its work then."""
    captions = [caption for part in parts for caption in part.captions]
    return Signals(torch.cat([part.vectors for part in parts]).half().cpu(), captions)


def _dialogue(writer: dialogues.Writer, pick: random.Random) -> Dialogue:
    families = writer.talk.families(FAMILIES, SCENE_FAMILIES)
    family = pick.choices(list(families), list(families.values()))[0]
    if family == "dialogue":
        return writer.dialogue()
    if family in SCENE_FAMILIES:
        return writer.of(family)
    if family == "audio":
        return writer.request(Sound(pick.choice(world.SOUNDS)) if pick.random() < 0.3 else writer.music())
    motion = pick.choice(list(world.MOTIONS)) if family == "video" else ""
    return writer.request(
        world.Scene(pick.choice(list(world.kinds())), pick.choice(list(world.COLOURS)), motion)
    )


def lessons(name: str, found: Signals) -> list[tuple[str, Signals, float]]:
    """What a projection is fitted to, and in which share of its minutes; single things first, where there are scenes.

    Three things are not learned in minutes, and what one thing is was not learned beside them: after four minutes 34 %
    of 64 single things were drawn as what they are, and 89 % with a quarter of the time for them alone.
    """
    alone = [row for row, shown in enumerate(found.captions) if not is_scene(shown)]
    if len(alone) in {0, len(found.captions)}:
        return [(name, found, 1.0)]
    single = Signals(found.vectors[alone], [found.captions[row] for row in alone])
    return [(f"{name}_alone", single, ALONE), (name, found, 1 - ALONE)]


def balanced(scenes: Sequence[bool]) -> Tensor:
    """Weights [N] with which single things and scenes are drawn equally often."""
    marks = torch.tensor(scenes)
    return torch.where(marks, 1 / marks.sum().clamp_min(1), 1 / (~marks).sum().clamp_min(1))


def is_scene(caption: str) -> bool:
    """Whether a caption is of a composed scene."""
    return isinstance(ideas.meaning(caption), Composition)


def _projected(projection: Part, signals: Tensor, rows: Tensor) -> Tensor:
    condition: Tensor = projection(signals[rows])
    return condition


def _fit(
    run: Run, projection: Part, modality: ModalityName, found: Signals, loss: ConditionLoss,
    sample: Sample | None,
) -> None:  # fmt: skip
    """Regress the conditions of captions from signals, row by row; single things and scenes are as many."""
    given, weights = found.vectors, balanced([is_scene(caption) for caption in found.captions])
    noise = NOISE * given.std(0, correction=0)

    def step(_: int) -> Tensor:
        rows = torch.multinomial(weights, FIT_ROWS, replacement=True)
        projected = projection(given[rows] + noise * torch.randn_like(given[rows]))
        return loss(modality, projected, [found.captions[row] for row in rows.tolist()])

    train(run, projection, step, sample)
