"""Recipes of the pronouncer and the synthesiser."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from anygpt_models.spectrogram import HOP, SAMPLE_RATE
from anygpt_models.speech_pronouncer import SpeechPronouncer
from anygpt_models.speech_synthesiser import SCALE, SpeechSynthesiser, whole_frames
from services.trainer.data.speech import Utterance, common_words, lexicon, read_utterances
from services.trainer.data.spread import spread
from services.trainer.loop import train
from services.trainer.pronunciations import inventory, pronunciation_loss, pronunciations
from services.trainer.recipe import Recipe
from services.trainer.sheet import Cell, Sheet, before
from services.trainer.speech_batches import Batches, Spoken, balanced, load_spoken, phrase_pieces, stacked
from services.trainer.speech_config import VOICES, data_folder

SHOWN = 12
"""Samples of a sheet."""


def run_pronouncer(recipe: Recipe) -> None:
    """Learn how words sound from the phonemes that the voices read and from the lexicon."""
    utterances = _utterances(recipe, "train")
    symbols = inventory(utterances)
    source = pronunciations(
        utterances, common_words(data_folder(recipe)), lexicon(data_folder(recipe)), symbols
    )
    pronouncer = recipe.build(SpeechPronouncer, "speech_pronouncer", symbols)
    train(
        recipe.run("speech_pronouncer", learning_rate=3e-3, warmup=200),
        pronouncer,
        lambda _: pronunciation_loss(pronouncer, source.draw(recipe.many(16))),
        lambda: pronounced_so_far(pronouncer, _utterances(recipe, "held_out")),
    )
    recipe.keep(pronouncer, "speech_pronouncer")
    judge_pronouncer(recipe)


def pronounced_so_far(pronouncer: SpeechPronouncer, held_out: list[Utterance]) -> Sheet:
    """Sentences that were never read to it, and how it would say them."""
    texts = [utterance.text for utterance in held_out[:SHOWN]]
    cells = [Cell(None, f"{text}\n{' '.join(pronouncer.pronounce(text))}") for text in texts]
    return Sheet(f"{len(cells)} held-out sentences pronounced", cells, columns=3)


def judge_pronouncer(recipe: Recipe) -> float:
    """Share of held-out phrases' words whose phonemes are all right."""
    pronouncer = recipe.part(SpeechPronouncer, "speech_pronouncer")
    held_out = _utterances(recipe, "held_out")
    source = pronunciations(held_out, (), {}, pronouncer.symbols)
    right = total = 0
    for phrase in source.phrases:
        said = " ".join(word for word, _ in phrase)
        heard = "\n".join(pronouncer.pronounce(said)).split("\n \n")
        # One that has hardly learned may say a gap within a word: then no word is where it should be.
        if len(heard) == len(phrase):
            right += sum("\n".join(sounds) == found for (_, sounds), found in zip(phrase, heard, strict=True))
        total += len(phrase)
    print(f"words right {right / max(1, total):.4f} of {total}")
    return right / max(1, total)


def run_synthesiser(recipe: Recipe) -> None:
    """Learn mels and durations of phrases from both voices."""
    spoken = load_spoken(data_folder(recipe) / "train", VOICES, level=False)
    pieces = [piece for entry in spoken for piece in phrase_pieces(entry)]
    symbols = recipe.part(SpeechPronouncer, "speech_pronouncer").symbols
    usable = [
        piece for piece in pieces if set(piece.utterance.symbols) <= set(symbols) and piece.mel.shape[-1] > 20
    ]
    synthesiser = recipe.build(SpeechSynthesiser, "speech_synthesiser", symbols, list(VOICES))
    batches = Batches(balanced(usable), size=recipe.many(12))
    train(
        recipe.run("speech_synthesiser", learning_rate=2e-3, warmup=200),
        synthesiser,
        lambda _: synthesis_loss(synthesiser, batches.draw()),
        lambda: said_so_far(synthesiser, spread(usable, SHOWN)),
    )
    recipe.keep(synthesiser, "speech_synthesiser")


def synthesis_loss(synthesiser: SpeechSynthesiser, rows: list[Spoken]) -> Tensor:
    """Distance of mels and of their slopes over time, and of log durations."""
    symbols, lengths = _read(synthesiser, rows)
    mel, frames = stacked([row.mel for row in rows])
    said, log_frames = synthesiser(symbols, torch.tensor([row.voice for row in rows]), whole_frames(lengths))
    count = min(said.shape[-1], mel.shape[-1])
    keep = (torch.arange(count)[None] < frames[:, None]).float()[:, None]
    error = (said[..., :count] - mel[..., :count].clamp(min=FLOOR)) / SCALE * keep
    slope: Tensor = error.diff(dim=-1).abs().mean()
    known = (symbols > 0).float()
    timing = (
        functional.smooth_l1_loss(log_frames * known, lengths.log1p() * known, reduction="sum") / known.sum()
    )
    mean: Tensor = error.abs().sum() / keep.sum() / error.shape[1]
    return mean + 0.5 * slope + 0.3 * timing


def said_so_far(synthesiser: SpeechSynthesiser, rows: list[Spoken]) -> Sheet:
    """Phrases as the voices said them, and beside each how it is said here, in the same times."""
    symbols, lengths = _read(synthesiser, rows)
    said, _ = synthesiser(symbols, torch.tensor([row.voice for row in rows]), whole_frames(lengths))
    cells = [
        Cell(before(row.mel, mel[:, : row.mel.shape[-1]]), row.utterance.text)
        for row, mel in zip(rows, said, strict=True)
    ]
    return Sheet(f"{len(cells)} phrases said", cells, columns=2)


def _read(synthesiser: SpeechSynthesiser, rows: list[Spoken]) -> tuple[Tensor, Tensor]:
    """Numbers of symbols [B, N], and how many frames each lasts [B, N]."""
    ids = [torch.tensor([synthesiser.symbols.index(s) + 1 for s in row.utterance.symbols]) for row in rows]
    seconds = [torch.tensor(row.utterance.seconds) * SAMPLE_RATE / HOP for row in rows]
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(ids, batch_first=True), pad(seconds, batch_first=True)


FLOOR = -8.0
"""Quieter than this is silence to the ear; learning its details would cost loudness elsewhere."""


def _utterances(recipe: Recipe, split: str) -> list[Utterance]:
    return [
        utterance for voice in VOICES for utterance in read_utterances(data_folder(recipe) / split / voice)
    ]
