"""The speech parts of the mini pack hear what they say, and what other voices say."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from anygpt_models.text_to_speech import TextToSpeech
from anygpt_models.transcriber import Transcriber
from services.trainer.word_errors import word_error_rate

ROOT = Path(__file__).parents[3]
SENTENCES = [
    "play sad piano music",
    "this is a happy face",
    "draw a cat on a blue background",
    "the sound of rain",
    "thank you very much",
    "i see a rocket on a green background",
]
LONG = "the old man went to the market and his brother found a book in the kitchen because it was cold in the garden"
PACK = ROOT / "shared" / "packs" / "mini"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def speech() -> TextToSpeech:
    return TextToSpeech.from_pretrained(PACK)


@pytest.fixture(scope="module")
def ears() -> Transcriber:
    return Transcriber.from_pretrained(PACK)


def recording(name: str) -> NDArray[np.float32]:
    with wave.open(str(ROOT / "tests" / "fixtures" / "speech" / f"{name}.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    return samples.astype(np.float32) / 32768.0


@pytest.mark.parametrize(
    ("name", "said"),
    [("play_happy_piano_music", "play happy piano music"), ("draw_a_cat", "draw a cat on a blue background")],
)
def test_a_recorded_instruction_is_understood_but_for_one_word(
    ears: Transcriber, name: str, said: str
) -> None:
    heard = ears.transcribe(recording(name))
    assert word_error_rate([(said, heard)]) < 1 / 6


def test_what_each_voice_says_is_heard_again(ears: Transcriber, speech: TextToSpeech) -> None:
    for voice in speech.voices:
        spoken = [speech.synthesise(speech.units.encode(text), voice) for text in SENTENCES]
        heard = [ears.transcribe(samples) for samples in spoken]
        assert word_error_rate(zip(SENTENCES, heard, strict=True)) <= 0.2


def test_other_words_are_not_mistaken_for_what_was_said(ears: Transcriber, speech: TextToSpeech) -> None:
    spoken = speech.synthesise(speech.units.encode(SENTENCES[0]))
    assert word_error_rate([(SENTENCES[1], ears.transcribe(spoken))]) > 0.6


def test_the_same_seed_gives_the_same_samples_and_another_seed_another_rhythm(speech: TextToSpeech) -> None:
    units = speech.units.encode(SENTENCES[2])
    first, again, other = (speech.synthesise(units, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_the_voices_sound_different(speech: TextToSpeech) -> None:
    units = speech.units.encode(SENTENCES[4])
    first, second = (speech.synthesise(units, voice) for voice in speech.voices)
    assert len(first) != len(second) or np.abs(first - second).mean() > 0.01


def test_a_stream_in_small_chunks_is_the_whole_and_starts_before_the_end(speech: TextToSpeech) -> None:
    units = speech.units.encode(LONG)
    waiting = [units[place : place + 3] for place in range(0, len(units), 3)]
    stream = speech.synthesise_stream(iter(lambda: waiting.pop(0) if waiting else [], []), seed=5)
    pieces = [next(stream)]
    assert waiting
    pieces += list(stream)
    assert np.array_equal(np.concatenate(pieces), speech.synthesise(units, seed=5))


def test_phrases_join_without_a_click(speech: TextToSpeech) -> None:
    pieces = list(speech.synthesise_stream([speech.units.encode(LONG)]))
    assert len(pieces) > 1
    for before, after in pairwise(pieces):
        assert abs(before[-1]) < 0.01
        assert abs(after[0]) < 0.01


def test_speech_is_as_loud_as_speech_and_never_clipped_flat(speech: TextToSpeech) -> None:
    samples = speech.synthesise(speech.units.encode(LONG))
    assert samples.dtype == np.float32
    assert 0.1 < np.abs(samples).max() <= 1.0
    assert 5.0 < len(samples) / 16_000 < 14.0


@pytest.mark.parametrize("length", [0, 1, 255, 1_000, 16_000])
def test_silence_says_nothing_whatever_its_length(ears: Transcriber, length: int) -> None:
    assert ears.transcribe(np.zeros(length, np.float32)) == ""


def test_noise_does_not_break_hearing(ears: Transcriber, speech: TextToSpeech) -> None:
    noise = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    assert len(speech.units.encode(ears.transcribe(noise))) < 20


def test_speech_longer_than_a_window_is_heard_to_its_end(ears: Transcriber) -> None:
    one = recording("draw_a_cat")
    heard = ears.transcribe(np.tile(one, 8))
    said = " ".join(["draw a cat on a blue background"] * 8)
    assert len(one) * 8 > 12 * 16_000
    assert word_error_rate([(said, heard)]) <= 0.15


def test_no_units_are_no_samples(speech: TextToSpeech) -> None:
    assert speech.synthesise([]).shape == (0,)


def test_any_word_can_be_said(speech: TextToSpeech) -> None:
    assert len(speech.synthesise(speech.units.encode("zyzzyva qwx"))) > 4_000


def test_an_unknown_voice_is_refused_by_name(speech: TextToSpeech) -> None:
    with pytest.raises(ValueError, match="nobody"):
        speech.synthesise([40], "nobody")
