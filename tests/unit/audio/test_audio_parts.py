"""The audio parts of the pack: what is asked for is heard, alone and in a batch, and odd input does no harm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from anygpt_models.audio_codec import PER_STEP, SAMPLES, AudioCodec, levelled
from anygpt_models.audio_pipeline import AudioOutput, AudioPipeline
from anygpt_models.audio_recogniser import AudioRecogniser
from anygpt_models.spectrogram import log_mel
from services.trainer import judge_audio
from services.trainer.data.ideas import Music
from services.trainer.data.split import is_held_out

PACK = Path(__file__).parents[3] / "shared" / "packs" / "mini"
ASKED = ("happy organ music", "calm guitar music", "the sound of a siren")


@pytest.fixture(scope="module")
def pipe() -> AudioPipeline:
    torch.set_num_threads(1)
    return AudioPipeline.assemble(PACK)


@pytest.fixture(scope="module")
def made(pipe: AudioPipeline) -> AudioOutput:
    drawn: AudioOutput = pipe(
        caption=list(ASKED), generator=[torch.Generator().manual_seed(row) for row in range(len(ASKED))]
    )
    return drawn


@pytest.fixture(scope="module")
def codec() -> AudioCodec:
    return AudioCodec.open(PACK / "audio_codec")


@pytest.fixture(scope="module")
def recogniser() -> AudioRecogniser:
    return AudioRecogniser.open(PACK / "audio_recogniser")


def tone(seconds: float) -> torch.Tensor:
    time = torch.arange(round(seconds * 16_000)) / 16_000
    return 0.3 * torch.sin(2 * torch.pi * 440 * time)[None]


def test_what_was_asked_for_is_heard(made: AudioOutput, recogniser: AudioRecogniser) -> None:
    heard = recogniser.name(torch.from_numpy(made.audios))
    assert [heard[0][0], heard[1][0], heard[2][2]] == ["organ", "guitar", "siren"]


def test_a_happy_piece_is_fast_and_a_calm_one_slow(made: AudioOutput) -> None:
    assert [judge_audio.tempo(wave) for wave in made.audios[:2]] == ["fast", "slow"]


@pytest.mark.parametrize(
    ("mood", "instrument"), [("calm", "cello"), ("happy", "flute"), ("tense", "saxophone")]
)
def test_an_instrument_plays_what_it_was_never_heard_to_play(
    pipe: AudioPipeline, recogniser: AudioRecogniser, mood: str, instrument: str
) -> None:
    assert is_held_out(Music(instrument, mood))
    (wave,) = pipe(caption=f"{mood} {instrument} music").audios
    ((heard, _, _),) = recogniser.name(torch.from_numpy(wave[None]))
    assert heard == instrument
    assert judge_audio.tempo(wave) == ("slow" if mood == "calm" else "fast")


def test_the_first_two_codes_say_who_plays_and_the_others_what(
    pipe: AudioPipeline, made: AudioOutput, recogniser: AudioRecogniser
) -> None:
    happy_organ, calm_guitar = made.codes[:2]
    happy_guitar = torch.cat([calm_guitar[:PER_STEP], happy_organ[PER_STEP:]])
    (wave,) = pipe(codes=happy_guitar[None]).audios
    ((heard, _, _),) = recogniser.name(torch.from_numpy(wave[None]))
    assert (heard, judge_audio.tempo(wave)) == ("guitar", "fast")


def test_the_same_seed_gives_the_same_codes_alone_and_in_a_batch(
    pipe: AudioPipeline, made: AudioOutput
) -> None:
    alone = pipe(caption=ASKED[1], generator=[torch.Generator().manual_seed(1)])
    assert torch.equal(alone.codes[0], made.codes[1])


def test_codes_become_the_same_sound_again(pipe: AudioPipeline, made: AudioOutput) -> None:
    assert np.allclose(pipe(codes=made.codes).audios, made.audios, atol=1e-5)


def test_progress_is_told_and_what_the_callback_raises_stops_the_work(pipe: AudioPipeline) -> None:
    told = []

    def stop_at_the_third(_: object, step: int, left: int, __: dict[str, object]) -> dict[str, object]:
        told.append((step, left))
        if step == 2:
            raise InterruptedError
        return {}

    with pytest.raises(InterruptedError):
        pipe(caption="sad harp music", callback_on_step_end=stop_at_the_third)
    assert told == [(0, 15), (1, 14), (2, 13)]


def test_codes_and_a_caption_together_are_refused(pipe: AudioPipeline, made: AudioOutput) -> None:
    with pytest.raises(ValueError, match="alone"):
        pipe(caption="happy organ music", codes=made.codes)


@pytest.mark.parametrize("seconds", [0.0, 0.01, 1.0, 7.0])
def test_a_sound_of_any_length_has_130_codes(codec: AudioCodec, seconds: float) -> None:
    codes = codec.encode(tone(seconds))
    assert codes.shape == (1, 130)
    assert 0 <= int(codes.min()) <= int(codes.max()) < 4096


def test_a_clipped_and_a_soft_sound_have_codes_that_decode(codec: AudioCodec) -> None:
    for wave in (torch.sign(tone(2.0)), 1e-4 * tone(2.0), torch.full((1, 9000), 4.0)):
        assert bool(codec.decode(codec.encode(wave)).isfinite().all())


def test_the_level_of_a_clip_does_not_change_its_codes(codec: AudioCodec) -> None:
    loud = codec.encode(tone(5.12))
    assert float((codec.encode(0.25 * tone(5.12)) == loud).float().mean()) > 0.95


def test_silence_stays_silent_through_the_codec(codec: AudioCodec) -> None:
    assert float(codec.decode(codec.encode(torch.zeros(1, SAMPLES))).max()) < -3.0


def test_a_decoded_clip_is_near_the_one_that_was_encoded(codec: AudioCodec, made: AudioOutput) -> None:
    mel = levelled(log_mel(torch.from_numpy(made.audios)))
    assert float((codec.decode(codec.encode_mel(mel)) - mel).abs().mean()) < 0.6


@pytest.mark.parametrize("wave", [torch.zeros(1, 0), torch.zeros(2, 100), torch.ones(1, 200_000)])
def test_the_recogniser_has_features_of_unit_size_for_any_input(
    recogniser: AudioRecogniser, wave: torch.Tensor
) -> None:
    features = recogniser.listen(wave)
    assert features.shape == (len(wave), 8, 256)
    assert torch.allclose(features.std(dim=2), torch.ones(len(wave), 8), atol=0.05)


def test_the_judge_knows_major_from_minor() -> None:
    assert judge_audio.mode(_scale((0, 4, 7, 2, 5, 9, 11))) == "major"
    assert judge_audio.mode(_scale((0, 3, 7, 2, 5, 8, 11))) == "minor"


def _scale(semitones: tuple[int, ...]) -> NDArray[np.float32]:
    """A tonic chord, then the rest of a scale, on A."""
    time = np.arange(8000) / 16_000
    lengths = [4, 3, 3, 1, 1, 1, 1]
    notes = [
        np.tile(np.sin(2 * np.pi * 440 * 2 ** (step / 12) * time), length)
        for step, length in zip(semitones, lengths, strict=True)
    ]
    return np.concatenate(notes).astype(np.float32)
