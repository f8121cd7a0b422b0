"""Recipes of the pronouncer and the synthesiser."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from anygpt_models.spectrogram import HOP, SAMPLE_RATE
from anygpt_models.speech_pronouncer import SpeechPronouncer
from anygpt_models.speech_synthesiser import SCALE, SpeechSynthesiser, whole_frames
from services.trainer.data.speech import Utterance, common_words, lexicon, read_voice
from services.trainer.loop import Run, train
from services.trainer.pronunciations import inventory, pronunciation_loss, pronunciations
from services.trainer.speech_batches import Batches, Spoken, balanced, load_spoken, phrase_pieces, stacked
from services.trainer.speech_config import VOICES, Config


def run_pronouncer(config: Config) -> None:
    """Learn how words sound from the phonemes that the voices read and from the lexicon."""
    utterances = _utterances(config, "train")
    symbols = inventory(utterances)
    source = pronunciations(utterances, common_words(config.data), lexicon(), symbols)
    pronouncer = SpeechPronouncer(symbols)
    run = Run(
        config.runs / "speech_pronouncer", 20_000, config.minutes, 3e-3, warmup=200, resume=config.resume
    )
    train(run, pronouncer, lambda _: pronunciation_loss(pronouncer, source.draw(16)))
    pronouncer.half().save_pretrained(config.pack / "speech_pronouncer")
    judge_pronouncer(config)


def judge_pronouncer(config: Config) -> float:
    """Share of held-out phrases' words whose phonemes are all right."""
    pronouncer = SpeechPronouncer.open(config.pack / "speech_pronouncer")
    held_out = _utterances(config, "held_out")
    source = pronunciations(held_out, (), {}, pronouncer.symbols)
    right = total = 0
    for phrase in source.phrases:
        said = " ".join(word for word, _ in phrase)
        heard = "\n".join(pronouncer.pronounce(said)).split("\n \n")
        right += sum("\n".join(sounds) == found for (_, sounds), found in zip(phrase, heard, strict=True))
        total += len(phrase)
    print(f"words right {right / total:.4f} of {total}")
    return right / total


def run_synthesiser(config: Config) -> None:
    """Learn mels and durations of phrases from both voices."""
    spoken = load_spoken(config.data / "train", VOICES, level=False)
    pieces = [piece for entry in spoken for piece in phrase_pieces(entry)]
    symbols = SpeechPronouncer.load_config(config.pack / "speech_pronouncer")["symbols"]
    usable = [
        piece for piece in pieces if set(piece.utterance.symbols) <= set(symbols) and piece.mel.shape[-1] > 20
    ]
    synthesiser = SpeechSynthesiser(symbols, list(VOICES))
    batches = Batches(balanced(usable), size=12)
    run = Run(
        config.runs / "speech_synthesiser", 40_000, config.minutes, 2e-3, warmup=200, resume=config.resume
    )
    train(run, synthesiser, lambda _: synthesis_loss(synthesiser, batches.draw()))
    synthesiser.half().save_pretrained(config.pack / "speech_synthesiser")


def synthesis_loss(synthesiser: SpeechSynthesiser, rows: list[Spoken]) -> Tensor:
    """Distance of mels and of their slopes over time, and of log durations."""
    ids = [torch.tensor([synthesiser.symbols.index(s) + 1 for s in row.utterance.symbols]) for row in rows]
    symbols = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
    seconds = [torch.tensor(row.utterance.seconds) * SAMPLE_RATE / HOP for row in rows]
    lengths = torch.nn.utils.rnn.pad_sequence(seconds, batch_first=True)
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


FLOOR = -8.0
"""Quieter than this is silence to the ear; learning its details would cost loudness elsewhere."""


def _utterances(config: Config, split: str) -> list[Utterance]:
    return [utterance for voice in VOICES for utterance, _ in read_voice(config.data / split / voice)]
