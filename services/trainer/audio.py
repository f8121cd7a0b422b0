"""Recipes of the audio parts: clips, vocoder, codec, recogniser and denoiser.

Run one with `python -m services.trainer.audio --stage vocoder`; each is also a function `run_<stage>(config)`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anygpt_models.audio_codec import AudioCodec, audible
from anygpt_models.spectrogram import HOP, log_mel, magnitude, mel_of_magnitude, pseudo_inverse
from anygpt_models.vocoder import Vocoder
from services.trainer.data.audio import Clips, clips
from services.trainer.data.speech import read_voice
from services.trainer.loop import Run, train

CACHE = Path.home() / ".cache" / "anygpt"
PACK = Path("shared/packs/mini")
CROP = 64
"""Frames of a training crop of the vocoder: a second."""


@dataclass(frozen=True)
class Config:
    """What every stage may be told."""

    minutes: float = 5.0
    resume: bool = False
    cache: Path = CACHE
    pack: Path = PACK

    def run(self, part: str, learning_rate: float) -> Run:
        """The training run of one part."""
        return Run(self.cache / "runs" / part, 100_000, self.minutes, learning_rate, resume=self.resume)


def run_data(config: Config) -> None:
    """Compose, render and synthesise the clips."""
    print(f"{len(clips(config.cache).index)} clips")


def run_vocoder(config: Config) -> None:
    """Learn linear magnitudes from mels of music, sounds and, where it has been built, speech."""
    sources = _voices(config.cache, "train") + [_flat(clips(config.cache), held_out=False)]
    vocoder = Vocoder()

    def step(_: int) -> Tensor:
        linear, mel = _spectra(sources, 24)
        return spectral_loss(vocoder.linear(mel), linear)

    train(config.run("vocoder", 2e-3), vocoder, step)
    vocoder.half().save_pretrained(config.pack / "vocoder")
    judge_vocoder(config)


def judge_vocoder(config: Config) -> dict[str, float]:
    """Spectral convergence on held-out music and speech, of the vocoder in the pack and of the pseudo-inverse."""
    vocoder = Vocoder.from_pretrained(config.pack / "vocoder").float().eval()
    sources = {"audio": _flat(clips(config.cache), held_out=True)}
    sources |= {f"speech {index}": wave for index, wave in enumerate(_voices(config.cache, "held_out"))}
    found = {}
    for name, source in sources.items():
        torch.manual_seed(0)
        linear, mel = _spectra([source], 64)
        with torch.no_grad():
            found[name] = spectral_convergence(vocoder.linear(mel), linear)
        found[f"{name}, pseudo-inverse"] = spectral_convergence(pseudo_inverse(mel), linear)
    print(*(f"{name}: {value:.3f}" for name, value in found.items()), sep="\n")
    return found


def spectral_loss(estimate: Tensor, linear: Tensor) -> Tensor:
    """Spectral convergence plus the distance of log magnitudes, which gives the soft bins their say."""
    floor = 1e-3 * linear.amax(dim=(-2, -1), keepdim=True).clamp(min=1e-3)
    logs = ((estimate + floor).log() - (linear + floor).log()).abs().mean()
    norms = (estimate - linear).flatten(1).norm(dim=1) / linear.flatten(1).norm(dim=1).clamp(min=1e-3)
    return norms.mean() + 0.5 * logs


def spectral_convergence(estimate: Tensor, linear: Tensor) -> float:
    """Norm of the error over the norm of the truth."""
    return float((estimate - linear).norm() / linear.norm())


def _spectra(sources: list[np.ndarray], count: int) -> tuple[Tensor, Tensor]:
    """Linear magnitudes [count, 513, 64] of random crops and their mels [count, 80, 64], in full precision."""
    with torch.autocast("cpu", enabled=False):
        linear = magnitude(_crops(sources, count))
        return linear, mel_of_magnitude(linear)


def _crops(sources: list[np.ndarray], count: int) -> Tensor:
    """Waveforms [count, 16384]: each source gives its share of crops, at a random level."""
    rows = []
    for index in range(count):
        source = sources[index % len(sources)]
        start = int(torch.randint(len(source) - CROP * HOP, ()))
        rows.append(torch.from_numpy(source[start : start + CROP * HOP].astype(np.float32) / 32768.0))
    return torch.stack(rows) * torch.empty(count, 1).uniform_(-1.6, 0.4).exp()


def _flat(data: Clips, held_out: bool) -> np.ndarray:
    return data.samples[data.rows(held_out)].reshape(-1)


def _voices(cache: Path, part: str) -> list[np.ndarray]:
    """Samples of each voice that has been built, its utterances joined."""
    folders = sorted((cache / "data" / "speech" / part).glob("*/"))
    return [np.concatenate([samples for _, samples in read_voice(folder)]) for folder in folders]


def run_codec(config: Config) -> None:
    """Learn codes of mels; half of the clips are shifted in time, so that sound from outside fits too."""
    waves = torch.from_numpy(clips(config.cache).waveforms(clips(config.cache).rows(held_out=False)))
    mels = batched(log_mel, waves)
    codec = AudioCodec()

    def step(_: int) -> Tensor:
        rows = torch.randint(len(mels), (16,))
        shifts = torch.randint(320, (16,)) * (torch.rand(16) < 0.4)
        mel = torch.stack([mels[row].roll(int(shift), -1) for row, shift in zip(rows, shifts, strict=True)])
        mel = mel + torch.empty(16, 1, 1).uniform_(-1.0, 0.4) * (torch.rand(16, 1, 1) < 0.4)
        return mel_loss(codec(mel), audible(mel))

    train(config.run("audio_codec", 2e-3), codec, step)
    codec.half().save_pretrained(config.pack / "audio_codec")
    judge_codec(config)


def judge_codec(config: Config) -> dict[str, float]:
    """Mean distance of log mels after a round trip through the codes, on clips that were trained on and others."""
    codec = AudioCodec.from_pretrained(config.pack / "audio_codec").float().eval()
    data, found = clips(config.cache), {}
    for name, held_out in (("trained", False), ("held out", True)):
        mel = log_mel(torch.from_numpy(data.waveforms(data.rows(held_out)[::4])))
        found[name] = float((codec.decode(codec.encode_mel(mel)) - audible(mel)).abs().mean())
    print(*(f"{name}: {value:.3f} nepers" for name, value in found.items()), sep="\n")
    return found


def mel_loss(estimate: Tensor, mel: Tensor) -> Tensor:
    """Distance of log mels, plus spectral convergence of mel amplitudes: loud notes must be the right notes."""
    estimate = estimate.float()
    loud, right = estimate.clamp(max=4.0).exp().flatten(1), mel.exp().flatten(1)
    return (estimate - mel).abs().mean() + 0.5 * ((loud - right).norm(dim=1) / right.norm(dim=1).clamp(min=0.1)).mean()


def batched(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """A function of a batch, 64 rows at a time."""
    with torch.no_grad():
        return torch.cat([function(piece) for piece in rows.split(64)])


STAGES: dict[str, Callable[[Config], object]] = {
    "data": run_data,
    "vocoder": run_vocoder,
    "codec": run_codec,
}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m services.trainer.audio", description=__doc__)
    parser.add_argument("--stage", choices=list(STAGES), required=True)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    STAGES[arguments.stage](Config(minutes=arguments.minutes, resume=arguments.resume))


if __name__ == "__main__":
    main()
