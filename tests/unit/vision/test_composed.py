from __future__ import annotations

import random
from itertools import product

import pytest
import torch
from torch import Tensor

from anygpt_models.composition import alone, pose_codes, poses_of, standing, together
from anygpt_models.image_codec import ImageCodec
from anygpt_models.layout import PLACES, SIZES, TINTS
from services.trainer.data import composed, world
from services.trainer.data.composed import Composition, Thing
from services.trainer.data.split import is_held_out

BLUE = torch.tensor([[-0.5, -0.1, 0.7]])


def squares(*boxes: tuple[float, float, float]) -> Tensor:
    """Red squares by centre and half side before blue, pixels [1, 3, 128, 128]."""
    pixels = BLUE[:, :, None, None].repeat(1, 1, 128, 128)
    for x, y, half in boxes:
        rows, columns = (slice(*(round((c + side) * 64 + 64) for side in (-half, half))) for c in (y, x))
        pixels[:, :, rows, columns] = torch.tensor([0.9, -0.8, -0.8])[None, :, None, None]
    return pixels


def test_a_composed_caption_reads_as_a_person_would_say_it() -> None:
    scene = Composition(
        (
            Thing("cat", "small", "at the top left", "red"), Thing("apple", "", "in the middle"),
            Thing("grapes", "large", "at the bottom right"),
        ),
        "blue",
    )  # fmt: skip
    assert composed.caption(scene) == (
        "a small red cat at the top left, an apple in the middle and large grapes at the bottom right "
        "on a blue background"
    )


def test_every_composed_caption_names_its_scene_and_no_other() -> None:
    pick = random.Random(0)
    scenes = [composed.draw(pick, held_out) for held_out in (False, True) for _ in range(3000)]
    for scene in scenes:
        assert composed.parse(composed.caption(scene)) == scene


def test_every_thing_in_every_size_place_and_colour_has_a_caption_of_its_own() -> None:
    for kind, size, tint in product(world.kinds(), SIZES, ("", *TINTS)):
        if f"{tint} {kind}" not in world.OBJECTS:
            scene = Composition((Thing(kind, size, "at the left", tint),), "white")
            assert composed.parse(composed.caption(scene)) == scene


@pytest.mark.parametrize(
    "text",
    [
        "a cat",
        "a cat on a blue background",
        "a blob in the middle on a blue background",
        "a cat in the middle on a blue background.",
        "A cat in the middle on a blue background",
        "the cat in the middle on a blue background",
        "a cat in the middle, and a dog at the right on a blue background",
        "",
    ],
)
def test_what_names_no_composed_scene_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no "):
        composed.parse(text)


def test_the_world_is_as_large_as_it_should_be() -> None:
    assert len(world.kinds()) >= 200
    assert len(world.COLOURS) >= 8
    assert len(TINTS) >= 8
    assert len(PLACES) == 9
    assert len(world.MOTIONS) == 6
    assert len(world.INSTRUMENTS) == 12
    assert len(world.SOUNDS) == 8
    assert len(world.EMOTIONS) == 6


def test_a_fifth_of_looks_and_a_fifth_of_backdrops_is_held_out_and_no_scene_of_training_has_one() -> None:
    things = [
        Thing(kind, size, place, tint)
        for kind, size, place, tint in product(world.kinds()[:60], SIZES, PLACES, ("", *TINTS))
    ]
    kept = sum(composed.is_held_out(Composition((thing,), "white")) for thing in things)
    assert abs(kept / len(things) - (1 - 0.8**2)) < 0.03
    pick = random.Random(1)
    scenes = [composed.draw(pick) for _ in range(2000)]
    alone = [Composition((thing,), scene.colour) for scene in scenes for thing in scene.things]
    assert not any(composed.is_held_out(scene) for scene in alone)
    assert not any(is_held_out(world.Scene(scene.things[0].kind, scene.colour)) for scene in alone)
    drawn = {thing for scene in scenes for thing in scene.things}
    assert {thing.place for thing in drawn} == set(PLACES)
    assert {thing.tint for thing in drawn} == {"", *TINTS}


def test_things_are_found_where_they_stand_in_reading_order() -> None:
    poses = standing(squares((0.66, 0.66, 0.25), (-0.66, -0.66, 0.2)), 3)[0]
    torch.testing.assert_close(poses[0], torch.tensor([-0.66, -0.66, 0.2]), atol=0.03, rtol=0)
    torch.testing.assert_close(poses[1], torch.tensor([0.66, 0.66, 0.25]), atol=0.03, rtol=0)
    assert torch.equal(poses[2], torch.zeros(3))


def test_a_thing_that_crosses_the_lines_of_the_grid_is_one_thing() -> None:
    poses = standing(squares((0.0, 0.0, 0.8)), 3)[0]
    torch.testing.assert_close(poses[0], torch.tensor([0.0, 0.0, 0.8]), atol=0.03, rtol=0)
    assert torch.equal(poses[1:], torch.zeros(2, 3))


def test_nothing_stands_before_a_bare_backdrop() -> None:
    assert torch.equal(standing(squares(), 3), torch.zeros(1, 3, 3))


def test_a_pose_survives_its_codes() -> None:
    poses = standing(squares((0.66, 0.0, 0.3), (-0.66, -0.66, 0.15)), 3)
    codes = pose_codes(poses)
    assert 0 <= int(codes.min()) <= int(codes.max()) < 4096
    torch.testing.assert_close(poses_of(codes), poses, atol=0.02, rtol=0)


def test_things_taken_apart_and_put_together_are_the_scene_again() -> None:
    pixels = squares((0.66, 0.0, 0.3), (-0.66, -0.66, 0.2))
    poses = standing(pixels, 2)
    single = alone(pixels, poses)
    cover = ((single - BLUE[:, :, None, None]).abs().amax(1, keepdim=True) > 0.3).float()
    layers = torch.cat([(single + 1) * cover - 1, cover], dim=1)
    found = together(layers, poses, BLUE)
    assert float((found - pixels).square().mean()) < 0.02


def test_the_codes_of_a_scene_are_33_a_thing_and_one_of_the_backdrop(codec: ImageCodec) -> None:
    codes = codec.encode_scene(squares((0.66, 0.0, 0.3), (-0.66, -0.66, 0.2)))
    assert codes.shape[1] == 100 <= 128
    absent = codes[0, 66:99]
    assert poses_of(absent[31:])[2] == 0
    assert not absent[:31].any()
    pixels = codec.decode(codes)
    assert pixels.shape == (1, 3, 128, 128)
    torch.testing.assert_close(pixels[0, :, 127, 0], BLUE[0], atol=0.07, rtol=0)


def test_the_codec_of_single_things_keeps_its_32_codes(codec: ImageCodec) -> None:
    assert codec.length == 32
    assert codec.encode(squares((0.0, 0.0, 0.8))).shape == (1, 32)
