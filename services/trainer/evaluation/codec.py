"""The row of the image codec: pictures to codes and back, without any language model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from torch import Tensor

from anygpt.pack import Pack
from anygpt_models.image_codec import ImageCodec
from services.trainer.evaluation.asking import Question
from services.trainer.evaluation.attributes import seed_of
from services.trainer.evaluation.interval import Observation
from services.trainer.evaluation.judgement import Reply
from services.trainer.evaluation.material import Sampler
from services.trainer.evaluation.task import Bench, Metric, Row

IMAGE_CODEC = "image_codec"


class CodecRow(Row):
    """Decibels, and whether the judge still sees the thing."""

    name = "image codes -> image"
    metrics = (
        Metric("image codes -> image: PSNR at 32 codes", "arithmetic", 20.0, "decibels"),
        Metric("image codes -> image: the judge still sees the thing", "a classifier trained apart", 0.9),
    )

    def applies(self, pack: Pack) -> bool:
        """See Row."""
        return pack.has(IMAGE_CODEC)

    def questions(self, bench: Bench, count: int) -> Iterator[Question]:
        """Scenes; nothing is asked of a system."""
        sampler = Sampler(seed_of(self.name))
        return (Question((), sampler.scene()) for _ in range(count))

    def observe(self, bench: Bench, question: Question, reply: Reply) -> Sequence[Observation]:
        """See Row."""
        given = bench.material.album.render([question.expected])
        codec = ImageCodec.open(bench.pack / IMAGE_CODEC)
        back = codec.decode(codec.encode(given)).clamp(-1, 1)
        right = bench.judges.objects.name(back[0]) == question.expected.kind
        return [(decibels(given, back), 1.0), (float(right), 1.0)]


def decibels(one: Tensor, other: Tensor) -> float:
    """Peak signal to noise of pictures in -1..1 (PSNR)."""
    error = float((one - other).square().mean()) / 4
    return -10 * math.log10(max(error, 1e-9))
