"""What is in a clip of music or sound: features for the LLM, and the classes they were learned from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anygpt_models.audio_codec import CONTENT, FRAMES, fitted, levelled
from anygpt_models.blocks import Attention, TransformerBlock, positions
from anygpt_models.mel_net import MelNet
from anygpt_models.part import Part, configured
from anygpt_models.spectrogram import MELS, log_mel

QUERIES = 8
NONE = "none"


class AudioRecogniser(Part):
    """Log mels [B, 80, 320] -> features [B, 8, 256], of which each classifier reads its own.

    Features 0 and 1 tell the instrument, 2 to 5 the mood, 6 and 7 the sound. The mood is heard in the content alone,
    which is the same whoever plays: see `AudioCodec`, whose net for it is used here too.
    """

    @configured
    def __init__(
        self, instruments: tuple[str, ...], moods: tuple[str, ...], sounds: tuple[str, ...],
        width: int = 128, feature_width: int = 256, content: tuple[int, int] = CONTENT,
    ) -> None:  # fmt: skip
        super().__init__()
        self.content = MelNet(*content)
        self.trunk = nn.Sequential(
            nn.Conv1d(MELS, width, 5, padding=2),
            nn.GELU(),
            nn.Conv1d(width, width, 4, stride=2, padding=1),
            nn.GELU(),
            nn.Conv1d(width, width, 5, stride=5),
        )
        self.places = positions(FRAMES // 10, width)
        self.mix = TransformerBlock(width, width // 32)
        self.readers = positions(QUERIES, width)
        self.read = Attention(width, width // 32)
        self.out = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, feature_width),
            nn.LayerNorm(feature_width, elementwise_affine=False),
        )
        self.instrument = nn.Linear(2 * feature_width, len(instruments) + 1)
        self.mood = nn.Linear(4 * feature_width, len(moods) + 1)
        self.sound = nn.Linear(2 * feature_width, len(sounds) + 1)

    def features(self, mel: Tensor) -> Tensor:
        """Log mels -> features [B, 8, 256], each vector of unit variance."""
        mel = levelled(mel)
        return self.features_of(mel, self.content(mel))

    def features_of(self, mel: Tensor, content: Tensor) -> Tensor:
        """Log mels and their content, each [B, 80, 320] -> features [B, 8, 256]."""
        sound, played = self._features(mel), self._features(content)
        return torch.cat([sound[:, :2], played[:, 2:6], sound[:, 6:]], dim=1)

    def _features(self, mel: Tensor) -> Tensor:
        x = self.mix(self.trunk(mel / 2.0 + 1.0).transpose(1, 2) + self.places)
        features: Tensor = self.out(
            self.readers + self.read(self.readers.expand(len(x), -1, -1).to(x.dtype), x)
        )
        return features

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log mels -> logits of instrument, mood and sound; the last class of each is `none`."""
        return self.classes(self.features(mel))

    def classes(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features -> logits of instrument, mood and sound."""
        return (
            self.instrument(features[:, 0:2].flatten(1)),
            self.mood(features[:, 2:6].flatten(1)),
            self.sound(features[:, 6:8].flatten(1)),
        )

    @torch.no_grad()
    def listen(self, waveform: Tensor) -> Tensor:
        """Waveform [B, S] at 16 kHz, cut or filled to 5.12 s -> features [B, 8, 256]."""
        return self.features(log_mel(fitted(waveform)))

    @torch.no_grad()
    def name(self, waveform: Tensor) -> list[tuple[str, str, str]]:
        """Waveform [B, S] -> the likeliest (instrument, mood, sound) of each clip, `none` where there is none."""
        logits = self(log_mel(fitted(waveform)))
        names = [(*self.setting(kind), NONE) for kind in ("instruments", "moods", "sounds")]
        picks = [part.argmax(1).tolist() for part in logits]
        return [(names[0][i], names[1][j], names[2][k]) for i, j, k in zip(*picks, strict=True)]
