from __future__ import annotations

import pytest
import torch
from torch import Tensor

from anygpt_models.backdrop import border_colour, cover
from anygpt_models.image_codec import ImageCodec
from anygpt_models.image_pipeline import ImagePipeline
from anygpt_models.image_recogniser import ImageRecogniser
from tests.unit.vision.conftest import PACK

ASKED = (
    "cat",
    "pig",
    "penguin",
    "turtle",
    "apple",
    "banana",
    "pizza",
    "bus",
    "rocket",
    "star",
    "guitar",
    "house",
)


def seeds(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def as_pixels(images: object) -> Tensor:
    return torch.as_tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def named(recogniser: ImageRecogniser, pixels: Tensor) -> list[str]:
    return [f"{kind} {colour}" for kind, colour in recogniser.name(pixels)]


def test_a_picture_survives_its_codes(codec: ImageCodec, scenes: dict[str, Tensor]) -> None:
    pixels = torch.stack(list(scenes.values()))
    codes = codec.encode(pixels)
    assert codes.shape == (len(scenes), 32)
    assert 0 <= int(codes.min()) <= int(codes.max()) < 4096
    error = ((codec.decode(codes) - pixels) / 2).square().flatten(1).mean(1)
    assert float((-10 * error.log10()).mean()) > 22.0


def test_a_codec_with_a_backdrop_tells_a_thing_alike_whatever_it_stands_before(
    codec: ImageCodec, scenes: dict[str, Tensor]
) -> None:
    steady = ImageCodec.open(PACK / "image_codec")
    steady.backdrop = (0.0, -1.0, 0.5)
    pixels = torch.stack(list(scenes.values()))
    things = cover(pixels, border_colour(pixels)) > 0.5
    colours = torch.tensor([[0.9, -0.9, -0.9], [-0.9, 0.9, 0.9], [0.5, 0.5, 0.9], [-0.5, 0.2, -0.5]])
    pictures = [torch.where(things, pixels, colour[:, None, None]) for colour in colours]
    kept = {}
    for name, sight in (("steady", steady), ("plain", codec)):
        first, *others = (sight.encode(shown)[:, :-1] for shown in pictures)
        kept[name] = torch.stack([other == first for other in others]).float().mean().item()
    assert kept["steady"] > 0.9 > 0.1 > kept["plain"]


def test_decoding_is_the_same_each_time(codec: ImageCodec) -> None:
    codes = torch.arange(64).view(2, 32) * 63
    assert torch.equal(codec.decode(codes), codec.decode(codes))


def test_pictures_are_named_with_their_background(
    recogniser: ImageRecogniser, scenes: dict[str, Tensor]
) -> None:
    found = recogniser.name(torch.stack(list(scenes.values())))
    for caption, (kind, colour) in zip(scenes, found, strict=True):
        assert f"{kind} on a" in caption
        assert f" {colour} background" in caption


def test_a_mirrored_small_picture_is_still_named(
    recogniser: ImageRecogniser, scenes: dict[str, Tensor]
) -> None:
    pixels = torch.nn.functional.interpolate(torch.stack(list(scenes.values())), (56, 56), mode="area").flip(
        3
    )
    large = torch.nn.functional.interpolate(pixels, (128, 128), mode="bilinear")
    right = [kind in caption for caption, (kind, _) in zip(scenes, recogniser.name(large), strict=True)]
    assert sum(right) >= len(right) - 1


def test_features_have_the_width_of_conditions(
    recogniser: ImageRecogniser, scenes: dict[str, Tensor]
) -> None:
    features = recogniser.features(torch.stack(list(scenes.values())[:2]))
    assert features.shape == (2, 4, 256)
    torch.testing.assert_close(features.var(-1, correction=0), torch.ones(2, 4), atol=0.01, rtol=0)


def test_what_is_asked_for_by_name_is_drawn(images: ImagePipeline, recogniser: ImageRecogniser) -> None:
    drawn = images(
        caption=[f"a {kind} on a blue background" for kind in ASKED],
        num_inference_steps=4,
        generator=seeds(len(ASKED)),
    )
    found = named(recogniser, as_pixels(drawn.images))
    right = [f"{kind} blue" == name for kind, name in zip(ASKED, found, strict=True)]
    assert sum(right) >= 0.75 * len(ASKED), found


def test_one_seed_gives_one_picture_alone_and_in_a_batch(images: ImagePipeline) -> None:
    captions = [
        "a cat on a red background",
        "a happy face on a white background",
        "a bus on a pink background",
    ]
    together = images(caption=captions, generator=seeds(3)).codes
    alone = images(caption=captions[1], generator=seeds(3)[1:2]).codes
    assert torch.equal(together[1:2], alone)


def test_the_condition_and_the_codes_are_other_ways_to_the_same_picture(images: ImagePipeline) -> None:
    told = images(caption="a tree on a yellow background", generator=seeds(1))
    condition = images.image_caption.encode(["a tree on a yellow background"])
    assert torch.equal(images(condition=condition, generator=seeds(1)).codes, told.codes)
    assert (images(codes=told.codes).images == told.images).all()


def test_progress_is_reported_once_a_step_and_can_stop_the_work(images: ImagePipeline) -> None:
    seen: list[int] = []

    def report(_: object, step: int, left: int, tensors: dict[str, object]) -> dict[str, object]:
        seen.append(step)
        assert left == 5 - step
        if len(seen) == 9:
            raise InterruptedError
        return tensors

    images(caption="a cat", num_inference_steps=6, callback_on_step_end=report)
    assert seen == [0, 1, 2, 3, 4, 5]
    with pytest.raises(InterruptedError):
        images(caption="a cat", num_inference_steps=6, callback_on_step_end=report)


def test_a_pipeline_takes_exactly_one_source(images: ImagePipeline) -> None:
    with pytest.raises(ValueError, match="one of caption"):
        images()
    with pytest.raises(ValueError, match="alone"):
        images(caption="a cat", codes=torch.zeros(1, 32, dtype=torch.int64))
    with pytest.raises(ValueError, match="2 samples need 2 generators"):
        images(caption=["a cat", "a dog"], generator=seeds(1))
