from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import pytest
import torch
from torch import Tensor

from anygpt.vocabulary import ModalityName
from anygpt_models.layout import MOST_THINGS
from services.trainer.alignment_conditions import ConditionLoss, captions_of, choice_loss, neighbours
from services.trainer.data import composed, ideas
from services.trainer.data.composed import Composition
from services.trainer.data.split import is_held_out
from services.trainer.data.world import Scene


def conditions(_: ModalityName, captions: Sequence[str]) -> Tensor:
    """A condition of its own for every caption, most of it alike in all."""
    made = [torch.randn(4, 8, generator=torch.Generator().manual_seed(crc32(c.encode()))) for c in captions]
    return 5.0 + 0.1 * torch.stack(made)


def test_a_condition_that_hits_its_own_costs_less_than_one_that_hits_its_neighbours() -> None:
    wanted, own = torch.randn(6, 8, 16), torch.arange(6)
    assert choice_loss(wanted, wanted, own) < 0.1 < choice_loss(wanted.roll(1, 0), wanted, own)


def test_the_average_condition_is_far_away_though_most_of_a_condition_is_alike_in_all() -> None:
    loss, captions = ConditionLoss(conditions), captions_of("image")[:16]
    exact = conditions("image", captions)
    average = exact.mean(0).expand(16, -1, -1)
    assert loss("image", exact, captions) < 0.01
    assert loss("image", average, captions) > 1.0


def test_the_right_thing_on_the_wrong_ground_costs_more_than_the_right_one() -> None:
    loss = ConditionLoss(conditions)
    right, wrong = "a dog on a blue background", "a dog on a red background"
    assert loss("image", conditions("image", [right]), [right]) < loss(
        "image", conditions("image", [wrong]), [right]
    )


def test_requests_for_the_same_thing_do_not_rival_each_other() -> None:
    captions = ["a dog on a blue background"] * 4
    assert ConditionLoss(conditions)("image", conditions("image", captions), captions) < 0.01


def test_neighbours_have_other_grounds_and_motions_but_none_that_is_kept_for_judging() -> None:
    known = ideas.by_caption()
    near = [known[caption] for caption in neighbours(["a dog moving left on a blue background"])]
    scenes = [idea for idea in near if isinstance(idea, Scene)]
    assert len({scene.colour for scene in scenes}) > 4
    assert len({scene.motion for scene in scenes}) > 3
    assert len({scene.kind for scene in scenes}) > 4
    heard = [known[caption] for caption in neighbours([captions_of("audio")[0]])]
    assert len(heard) > 30
    assert not [idea for idea in (*near, *heard) if is_held_out(idea)]


SCENE = "a small red cat at the top left and a dog at the right on a blue background"


def wide(modality: ModalityName, captions: Sequence[str]) -> Tensor:
    """The same as wide as the vectors of layouts are."""
    return conditions(modality, captions).repeat(1, 1, 32)


def scene_condition(caption: str) -> Tensor:
    """What a projection should make of a caption [1, 15, 256]: three things of four queries, three layouts."""
    scene = ideas.meaning(caption)
    assert isinstance(scene, Composition)
    things = wide("image", composed.each_alone(scene)).flatten(0, 1)
    layout = composed.numbered([*scene.things, *[None] * (MOST_THINGS - len(scene.things))])
    return torch.cat([things, torch.zeros(4 * MOST_THINGS - len(things), 256), layout.vectors()])[None]


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        ("cat", "fox"),
        ("a dog", "an apple"),
        ("blue", "green"),
        ("top left", "bottom"),
        ("small ", ""),
        ("red ", ""),
    ],
)
def test_a_scene_that_hits_its_things_and_its_layout_costs_less_than_one_that_differs(
    words: str, instead: str
) -> None:
    loss, other = ConditionLoss(wide), SCENE.replace(words, instead)
    exact = loss("image", scene_condition(SCENE), [SCENE])
    assert exact < 0.02
    assert loss("image", scene_condition(other), [SCENE]) > exact + 0.01


def test_a_single_picture_has_no_layout_in_its_condition() -> None:
    loss, caption = ConditionLoss(wide), "a dog on a blue background"
    alone = torch.cat([wide("image", [caption]), torch.zeros(1, 2 * 4 + MOST_THINGS, 256)], dim=1)
    placed = alone.clone()
    placed[:, 12:] = 1.0
    assert loss("image", alone, [caption]) < 0.02 < loss("image", placed, [caption])
