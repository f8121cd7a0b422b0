"""What a config may set of each stage beside how it learns; a key that would do nothing is an error."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from anygpt.errors import InvalidInput
from anygpt_models.audio_codec import AudioCodec
from anygpt_models.audio_pipeline import Styles
from anygpt_models.audio_recogniser import AudioRecogniser
from anygpt_models.caption import CaptionEncoder
from anygpt_models.denoiser import CodeDenoiser
from anygpt_models.image_codec import ImageCodec
from anygpt_models.image_recogniser import ImageRecogniser
from anygpt_models.part import Part
from anygpt_models.scene_recogniser import LayoutRecogniser
from anygpt_models.speech_pronouncer import SpeechPronouncer
from anygpt_models.speech_recogniser import SpeechRecogniser
from anygpt_models.speech_synthesiser import SpeechSynthesiser
from anygpt_models.video_codec import MotionCodec
from anygpt_models.video_recogniser import MotionRecogniser
from anygpt_models.vocoder import Vocoder
from services.trainer import alignment, alignment_codes, alignment_reading, alignment_signals, image_codec
from services.trainer.stage_config import StageConfig


@dataclass(frozen=True)
class Settable:
    """What a config may set of a stage that learns."""

    builds: Mapping[str, type[Part]] = field(default_factory=dict)
    """The parts that begin in it, whose sizes are chosen then."""
    amounts: Collection[str] = ()
    has_batch: bool = True
    has_minutes: bool = True
    """Whether its time ends it; else its steps do."""

    def idle(self, config: StageConfig) -> Iterator[str]:
        """The keys of a config that would do nothing."""
        for part, sizes in config.sizes.items():
            kind = self.builds.get(part)
            known: Collection[str] = inspect.signature(kind).parameters if kind else ()
            yield from (f"sizes.{part}.{name}" for name in sizes if name not in known)
        yield from (f"amounts.{name}" for name in config.amounts if name not in self.amounts)
        if "batch" in config.model_fields_set and not self.has_batch:
            yield "batch"
        if "minutes" in config.model_fields_set and not self.has_minutes:
            yield "minutes"


SETTABLE: Mapping[str, Settable] = {
    "image.codec": Settable({"image_codec": ImageCodec}),
    "image.tokens": Settable(amounts=image_codec.TOKENS),
    "image.decoder": Settable(),
    "image.recogniser": Settable({"image_recogniser": ImageRecogniser}),
    "video.codec": Settable({"motion_codec": MotionCodec}),
    "video.sight": Settable(),
    "video.recogniser": Settable({"motion_recogniser": MotionRecogniser}),
    "video.animated": Settable(),
    "image.scenes": Settable({"image_layout": LayoutRecogniser}),
    "image.denoiser": Settable({
        "image_caption": CaptionEncoder, "image_denoiser": CodeDenoiser, "video_denoiser": CodeDenoiser,
    }),
    "image.steady": Settable(),
    "speech.recogniser": Settable({"speech_recogniser": SpeechRecogniser}),
    "speech.pronouncer": Settable({"speech_pronouncer": SpeechPronouncer}),
    "speech.synthesiser": Settable({"speech_synthesiser": SpeechSynthesiser}),
    "audio.vocoder": Settable({"vocoder": Vocoder}),
    "audio.content": Settable({"audio_codec": AudioCodec}),
    "audio.timbre": Settable(),
    "audio.recogniser": Settable({"audio_recogniser": AudioRecogniser}),
    "audio.denoiser": Settable({
        "audio_caption": CaptionEncoder, "audio_denoiser": CodeDenoiser, "audio_styles": Styles,
    }),
    "audio.polish": Settable(),
    "alignment.read": Settable(amounts=alignment_reading.READ, has_batch=False, has_minutes=False),
    "alignment.describe": Settable(amounts=alignment_reading.DESCRIBED, has_batch=False),
    "alignment.converse": Settable(amounts=alignment.AMOUNTS, has_batch=False),
    "alignment.redescribe": Settable(amounts=alignment_reading.DESCRIBED, has_batch=False),
    "alignment.signal": Settable(amounts=alignment_signals.AMOUNTS, has_batch=False),
    "alignment.codes": Settable(amounts=alignment_codes.AMOUNTS, has_batch=False),
}  # fmt: skip
"""The stages that learn; of the others nothing is to be set."""


def check_settable(stage: str, config: StageConfig) -> None:
    """Raise InvalidInput for a key that would do nothing in a stage."""
    known = SETTABLE.get(stage)
    idle = next(iter(known.idle(config) if known else sorted(config.model_fields_set)), None)
    if idle:
        key = f"{stage}.{idle}"
        raise InvalidInput(f"{key} would do nothing", reason="CONFIG_UNKNOWN", field=key)
