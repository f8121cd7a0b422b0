"""How the two published recipes adapt their input, as data: NExT-GPT (ImageBind's rules) and AnyGPT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from anygpt_models.input.clips import Clips
from anygpt_models.input.fit import Fit, normalised, three_crops
from anygpt_models.input.image import open_image
from anygpt_models.input.mel import MelBands
from anygpt_models.input.source import Source
from anygpt_models.input.video import Viewing, open_video
from anygpt_models.input.waveform import Hearing, open_waveform, spread


@dataclass(frozen=True, slots=True)
class ImagePreset:
    """A picture as [3, size, size], by CLIP's mean and deviation."""

    fit: Fit

    def adapt(self, source: Source) -> NDArray[np.float32]:
        """One picture."""
        return normalised(self.fit(open_image(source)))


@dataclass(frozen=True, slots=True)
class VideoPreset:
    """A video as [clips x 3, 3, frames, size, size]: three squares along the long side of each clip."""

    viewing: Viewing
    fit: Fit

    def adapt(self, source: Source) -> NDArray[np.float32]:
        """All views of one video, clip after clip; its sound is ignored."""
        clips = open_video(source, self.viewing, self.fit.short_side)
        views = [
            np.stack([three_crops(frame, self.fit.size)[place] for frame in clip])
            for clip in clips
            for place in range(3)
        ]
        return np.ascontiguousarray(np.moveaxis(normalised(np.stack(views)), 2, 1))


@dataclass(frozen=True, slots=True)
class MelPreset:
    """A sound as log-mel clips [clips, 1, bands, frames], normalised."""

    hearing: Hearing
    clips: Clips
    bands: MelBands
    frames: int
    mean: float
    deviation: float

    def adapt(self, source: Source) -> NDArray[np.float32]:
        """All clips of one sound."""
        samples = open_waveform(source, self.hearing)
        mels = [self.bands(window) for window in spread(samples, self.clips, self.hearing.sample_rate)]
        cut = np.stack([self._whole(mel) for mel in mels])
        return ((cut - self.mean) / self.deviation).astype(np.float32)[:, None]

    def _whole(self, mel: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.pad(mel, ((0, 0), (0, max(0, self.frames - mel.shape[1]))))[:, : self.frames]


@dataclass(frozen=True, slots=True)
class WaveformPreset:
    """A sound as samples [S] of one channel, for a codec."""

    hearing: Hearing

    def adapt(self, source: Source) -> NDArray[np.float32]:
        """The samples, cut where the recipe cuts."""
        return open_waveform(source, self.hearing)


NEXT_GPT_IMAGE: Final = ImagePreset(Fit(224, "crop"))
NEXT_GPT_VIDEO: Final = VideoPreset(Viewing(Clips(2.0, 5, always=True), 2, to_end=True), Fit(224, "crop"))
NEXT_GPT_AUDIO: Final = MelPreset(Hearing(16_000), Clips(2.0, 3, always=True), MelBands(), 204, -4.268, 9.138)
ANYGPT_IMAGE: Final = ImagePreset(Fit(224, "stretch"))
ANYGPT_SPEECH: Final = WaveformPreset(Hearing(16_000, channel="first"))
ANYGPT_MUSIC: Final = WaveformPreset(Hearing(32_000, cut_s=5.0))
