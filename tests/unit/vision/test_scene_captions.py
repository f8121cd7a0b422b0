"""A caption alone, without a language model, draws a scene."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from anygpt_models.composition import standing
from anygpt_models.image_pipeline import ImagePipeline
from anygpt_models.layout import MOST_THINGS, PLACES
from anygpt_models.scene_caption import SceneCaption
from services.trainer.data import composed


def test_every_caption_of_a_scene_tells_its_layout_and_each_thing_alone() -> None:
    pick = random.Random(3)
    for _ in range(300):
        scene = composed.draw(pick)
        told = SceneCaption.parse(composed.caption(scene))
        assert told is not None
        if any(thing.kind == "green apple" for thing in scene.things):
            continue  # in words alone an apple dyed green
        missing = [None] * (MOST_THINGS - len(scene.things))
        due, layout = composed.numbered([*scene.things, *missing]), told.layout()
        assert torch.equal(layout.vectors(), due.vectors())
        assert [_bare(one) for one in told.alone()] == [_bare(one) for one in composed.each_alone(scene)]


@pytest.mark.parametrize(
    ("text", "things"),
    [
        ("A dog at the left", 1),
        ("the small DOG At The Left, and a bell at the right.", 2),
        ("a dog at the left, a cat in the middle, a bell at the right", 3),
        ("a dog", 0),
        ("a dog at the left and a cat", 0),
        ("a dog at the left and a cat in the middle and a bell at the right and a cup at the top", 0),
        ("at the left", 0),
        ("", 0),
    ],
)
def test_a_scene_is_told_by_the_place_of_each_of_its_things(text: str, things: int) -> None:
    told = SceneCaption.parse(text)
    assert (len(told.things) if told else 0) == things


def test_a_caption_draws_each_thing_in_its_place_and_size(images: ImagePipeline) -> None:
    things = "a large bell at the top left, a cat in the middle and a small bell at the bottom right"
    drawn = images(caption=f"{things} on a blue background", num_inference_steps=4)
    assert drawn.codes.shape == (1, 100)
    pixels = torch.from_numpy(drawn.images).movedim(-1, 1).float() / 127.5 - 1
    *middles, halves = standing(pixels, MOST_THINGS)[0].unbind(1)
    due = torch.tensor(
        [PLACES[place] for place in ("at the top left", "in the middle", "at the bottom right")]
    )
    assert float((torch.stack(middles, 1) - due * (2 / 3)).abs().max()) < 0.15
    assert halves[0] > 1.4 * halves[2]


def test_scenes_and_single_pictures_of_one_list_are_drawn_in_their_places(images: ImagePipeline) -> None:
    captions = ["a dog", "a cat at the left", "a bell"]
    drawn = images(caption=captions, num_inference_steps=2)
    assert [len(codes) for codes in drawn.codes] == [32, 100, 32]
    for seed, caption in enumerate(captions):
        generator = torch.Generator().manual_seed(seed)
        alone = images(caption=caption, num_inference_steps=2, generator=generator)
        assert torch.equal(drawn.codes[seed], alone.codes[0])
        # Convolutions of one picture and of several differ in the last bit.
        assert np.allclose(drawn.images[seed].astype(int), alone.images[0].astype(int), atol=1)


def test_steps_of_scenes_and_of_single_pictures_are_counted_together(images: ImagePipeline) -> None:
    told: list[tuple[int, int]] = []

    def report(_: object, step: int, left: int, values: dict[str, object]) -> dict[str, object]:
        told.append((step, left))
        return values

    images(caption=["a dog at the left", "a dog"], num_inference_steps=2, callback_on_step_end=report)
    assert told == [(0, 3), (1, 2), (2, 1), (3, 0)]


def _bare(caption: str) -> list[str]:
    return [word for word in caption.split() if word not in {"a", "an", "the"}]
