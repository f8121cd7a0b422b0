"""Scenes of several things: where they stand goes in and out of a vector, each is seen alone and drawn alone."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from anygpt_models.composition import apart, poses_of, standing, tints_of
from anygpt_models.image_codec import TOLD, scene_codes
from anygpt_models.image_pipeline import ImagePipeline
from anygpt_models.image_recogniser import ImageRecogniser
from anygpt_models.layout import MOST_THINGS, PLACES, TINTS, Layout, dyed
from anygpt_models.scene_recogniser import LayoutRecogniser, SceneRecogniser
from services.trainer.alignment_sheets import decoded
from services.trainer.data import composed
from services.trainer.data.composed import Composition, Thing
from services.trainer.recipe import Recipe
from tests.unit.vision.conftest import PACK
from tests.unit.vision.test_composed import squares

QUERIES = 8


def same(one: Layout, other: Layout) -> bool:
    pairs = ((one.places, other.places), (one.sizes, other.sizes), (one.tints, other.tints))
    return torch.equal(one.there, other.there) and all(torch.equal(a, b) for a, b in pairs)


def condition_of(pipeline: ImagePipeline, scene: Composition) -> Tensor:
    """The condition [1, 27, 256] of a scene, as an output projection should make it."""
    things = pipeline.image_caption.encode(composed.each_alone(scene)).flatten(0, 1)
    empty = torch.zeros(QUERIES * (MOST_THINGS - len(scene.things)), 256)
    layout = composed.numbered([*scene.things, *[None] * (MOST_THINGS - len(scene.things))])
    return torch.cat([things, empty, layout.vectors()])[None]


def test_every_layout_is_read_from_its_vector_and_from_a_vector_that_is_a_little_off() -> None:
    layouts = Layout.every()
    vectors = layouts.vectors()
    assert vectors.square().mean().item() == pytest.approx(1.0)
    off = vectors + 0.5 * torch.randn(vectors.shape, generator=torch.Generator().manual_seed(0))
    assert same(Layout.of(vectors), layouts)
    assert same(Layout.of(off), layouts)


def test_the_vector_of_no_thing_is_empty_and_is_read_as_no_thing() -> None:
    layout = composed.numbered([None, Thing("cat", "small", "at the top")])
    vectors = layout.vectors()
    assert not vectors[0].any()
    assert Layout.of(vectors).there.tolist() == [False, True]
    assert layout.poses()[0, 2] == 0


def test_a_dyed_thing_has_one_hue_and_keeps_its_light_and_its_outline() -> None:
    layers = torch.rand(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    layers[:, :3] *= layers[:, 3:]
    plain, red = dyed(layers, torch.tensor([0, 1]))
    assert torch.equal(plain, layers[0])
    assert torch.equal(red[3], layers[1, 3])
    assert (red[0] >= red[1]).all()
    assert (red[:3] <= red[3:] + 1e-6).all()


def test_the_codes_of_a_scene_say_where_each_thing_stands_and_in_which_colour() -> None:
    layout = composed.numbered(
        [Thing("cat", "large", "at the left", "blue"), None, Thing("dog", "", "at the right")]
    )
    batched = Layout(*(facts[None] for facts in (layout.places, layout.sizes, layout.tints, layout.there)))
    codes = scene_codes(torch.randint(4096, (1, 3, TOLD + 1)), batched)
    assert codes.shape == (1, 100)
    where = codes[:, :-1].unflatten(1, (3, -1))[..., TOLD:]
    assert tints_of(where).tolist() == [[1 + list(TINTS).index("blue"), 0, 0]]
    assert torch.allclose(poses_of(where)[0, :, 2], torch.tensor([0.95, 0.0, 0.72]) / 3, atol=0.02)


def test_a_scene_is_drawn_with_each_thing_where_it_should_be(images: ImagePipeline) -> None:
    things = (Thing("cat", "large", "at the top left"), Thing("apple", "small", "in the middle", "blue"))
    scene = Composition(things, "yellow")
    found = images(condition=condition_of(images, scene), num_inference_steps=2)
    pixels = torch.as_tensor(found.images).permute(0, 3, 1, 2).float() / 127.5 - 1
    poses = standing(pixels, MOST_THINGS)[0]
    assert (poses[:, 2] > 0).tolist() == [True, True, False]
    for pose, thing in zip(poses, things, strict=False):
        assert torch.allclose(pose[:2], torch.tensor(PLACES[thing.place]) * (2 / 3), atol=0.1)
    assert poses[0, 2] > poses[1, 2]
    blue = pixels[0, :, 54:74, 54:74].flatten(1).min(dim=1).values
    assert blue[0] < -0.4


def test_a_condition_without_a_layout_is_that_of_a_single_picture(images: ImagePipeline) -> None:
    single = images.image_caption.encode(["a cat on a blue background"])
    as_scene = torch.cat([single, torch.zeros(1, 2 * QUERIES + MOST_THINGS, 256)], dim=1)
    one, other = (images(condition=condition, num_inference_steps=2) for condition in (single, as_scene))
    assert one.codes.shape == other.codes.shape == (1, 32)
    assert np.array_equal(one.images, other.images)


def both_kinds(images: ImagePipeline) -> Tensor:
    """Conditions [2, 27, 256] of a single picture and of a scene."""
    single = images.image_caption.encode(["a cat on a blue background"])
    as_scene = torch.cat([single, torch.zeros(1, 2 * QUERIES + MOST_THINGS, 256)], dim=1)
    scene = Composition((Thing("apple", "small", "in the middle"),), "yellow")
    return torch.cat([as_scene, condition_of(images, scene)])


def test_conditions_of_scenes_and_of_single_pictures_are_not_drawn_in_one_batch(
    images: ImagePipeline,
) -> None:
    with pytest.raises(ValueError, match="one batch"):
        images(condition=both_kinds(images), num_inference_steps=1)


def test_a_sheet_of_samples_shows_scenes_and_single_things(images: ImagePipeline, tmp_path: Path) -> None:
    conditions, captions = both_kinds(images), ["a cat", "an apple in the middle"]
    sample = decoded(Recipe(tmp_path, PACK, tmp_path), "image", conditions.__getitem__, captions)
    assert sample is not None
    cells = {cell.words: cell.shown for cell in sample().cells}
    assert sorted(cells) == captions
    for shown in cells.values():
        assert shown is not None
        assert float(shown.flatten(1).std(1).max()) > 0.1


def test_a_scene_is_the_same_for_the_same_seed_whatever_is_drawn_beside_it(images: ImagePipeline) -> None:
    pick = random.Random(4)
    conditions = [condition_of(images, composed.draw(pick)) for _ in range(2)]
    seeds = [torch.Generator().manual_seed(seed) for seed in (7, 8)]
    both = images(condition=torch.cat(conditions), num_inference_steps=2, generator=seeds).codes
    alone = images(
        condition=conditions[1], num_inference_steps=2, generator=[torch.Generator().manual_seed(8)]
    ).codes
    assert torch.equal(both[1:], alone)


def test_a_picture_is_a_scene_when_each_thing_stands_in_a_cell_of_its_own() -> None:
    scene = squares((-2 / 3, -2 / 3, 0.2), (0.0, 2 / 3, 0.25))
    assert apart(torch.cat([scene, squares((0.0, 0.0, 0.7)), squares()])).tolist() == [True, False, False]


def test_specks_that_are_no_thing_anywhere_make_no_scene() -> None:
    pixels = squares()
    for row in range(8, 128, 20):
        for column in range(8, 128, 20):
            pixels[:, :, row, column] = torch.tensor([0.9, -0.8, -0.8])[None, :]
    words = ("one", "two", "three")
    found = SceneRecogniser(ImageRecogniser(words, words, words).eval(), LayoutRecogniser().eval()).features(
        pixels
    )
    assert apart(pixels).all()
    assert [tuple(features.shape) for features in found] == [(4, 256)]


def test_a_thing_alone_has_four_features_and_each_of_a_scene_four_and_its_layout() -> None:
    words = ("one", "two", "three")
    image, pixels = ImageRecogniser(words, words, words).eval(), torch.cat([
        squares((0.0, 0.0, 0.7)), squares((-2 / 3, 0.0, 0.2), (2 / 3, 2 / 3, 0.3)), squares((0.0, 0.0, 0.25)),
    ])  # fmt: skip
    found = SceneRecogniser(image, LayoutRecogniser().eval()).features(pixels)
    assert [tuple(features.shape) for features in found] == [(4, 256), (10, 256), (5, 256)]
    assert torch.allclose(found[0], image.features(pixels)[0], atol=1e-5)
    layout = Layout.of(torch.stack([found[1][4], found[1][9], found[2][4]]))
    assert [list(PLACES)[place] for place in layout.places] == [
        "at the left",
        "at the bottom right",
        "in the middle",
    ]
    assert all(len(features) == 4 for features in SceneRecogniser(image, None).features(pixels))


def test_no_thing_has_the_colour_of_its_backdrop_and_all_counts_are_as_frequent() -> None:
    pick = random.Random(0)
    for held_out in (False, True):
        scenes = [composed.draw(pick, held_out) for _ in range(900)]
        assert not [scene for scene in scenes if scene.colour in {thing.tint for thing in scene.things}]
        counts = [sum(len(scene.things) == count for scene in scenes) for count in (1, 2, 3)]
        assert min(counts) > 240
