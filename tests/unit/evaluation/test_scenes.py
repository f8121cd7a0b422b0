"""What is counted in answers about scenes: things, their places, their looks, each apart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from services.trainer.data import composed, ideas
from services.trainer.data.composed import Composition
from services.trainer.evaluation import scenes, table
from services.trainer.evaluation.judgement import Judges
from services.trainer.evaluation.material import Material
from services.trainer.evaluation.scenes import SceneDrawnRow, cells_of, drawn, read, told
from services.trainer.evaluation.task import Bench
from tests.unit.vision.test_composed import squares

CAPTION = "a small red cat at the top left and a dog at the right on a blue background"


def scene() -> Composition:
    found = ideas.meaning(CAPTION)
    assert isinstance(found, Composition)
    return found


@pytest.mark.parametrize(
    ("answer", "things", "places", "looks"),
    [
        (CAPTION, (2, 2), (2, 2), (2, 2)),
        (
            "a dog at the right and a small red cat at the top left on a blue background",
            (2, 2),
            (2, 2),
            (2, 2),
        ),
        ("a small red cat at the top and a dog at the right on a pink background", (2, 2), (1, 2), (2, 2)),
        ("a cat at the top left and a dog at the right on a blue background", (2, 2), (2, 2), (1, 2)),
        (
            "a small red fox at the top left and a dog at the right on a blue background",
            (1, 2),
            (1, 1),
            (1, 1),
        ),
        ("a dog at the right on a blue background", (1, 2), (1, 1), (1, 1)),
        (
            "a cat at the top, a dog at the right and a bell at the left on a blue background",
            (2, 3),
            (1, 2),
            (1, 2),
        ),
    ],
)
def test_things_places_and_looks_of_an_answer_are_counted_apart(
    answer: str, things: tuple[int, int], places: tuple[int, int], looks: tuple[int, int]
) -> None:
    assert told(scene(), read(f"This is {answer}.")) == [things, places, looks]


@pytest.mark.parametrize(
    "answer", ["", "This is a dog on a blue background.", "I cannot see it.", f"{CAPTION} or so"]
)
def test_an_answer_that_is_about_no_scene_names_no_thing(answer: str) -> None:
    assert told(scene(), read(answer)) == [(0, 2), None, None]


def test_of_two_things_alike_the_one_at_the_right_place_is_counted() -> None:
    two = ideas.meaning("a large cat at the top and a small cat at the bottom on a white background")
    assert isinstance(two, Composition)
    one = read("This is a small cat at the bottom on a white background.")
    assert told(two, one) == [(1, 2), (1, 1), (1, 1)]
    both = read("This is a large cat at the top and a small cat at the bottom on a white background.")
    assert told(two, both) == [(2, 2), (2, 2), (2, 2)]


def test_the_cells_in_which_something_stands_are_found_and_cut_out() -> None:
    pixels = squares((-2 / 3, -2 / 3, 0.2), (2 / 3, 0.0, 0.15))[0]
    cells = cells_of(pixels)
    assert list(cells) == ["at the top left", "at the right"]
    for cell in cells.values():
        assert cell.shape == (3, 128, 128)
        assert cell[0, 64, 64] > 0.8
    assert cells_of(torch.full((3, 128, 128), 0.3)) == {}


def test_a_picture_is_judged_by_what_stands_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = iter(["cat", "horse"])

    class Namer:
        def name(self, _: torch.Tensor) -> str:
            return next(names)

    monkeypatch.setattr(scenes, "read_picture", lambda _: squares((-2 / 3, -2 / 3, 0.2), (0.0, 0.0, 0.15))[0])
    judges = Judges(tmp_path)
    object.__setattr__(judges, "scene_objects", Namer())
    assert drawn(judges, scene(), b"a picture") == [(1.0, 2.0), (0.0, 1.0), (1.0, 1.0)]
    assert drawn(judges, scene(), None) == [(0.0, 2.0), (0.0, 1.0), (0.0, 1.0)]


def test_the_questions_are_about_held_out_scenes_of_every_count(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Material(tmp_path), Judges(tmp_path))
    row = next(row for row in table.rows() if isinstance(row, SceneDrawnRow))
    asked = list(row.questions(bench, 60))
    assert all(composed.is_held_out(question.expected) for question in asked)
    assert {len(question.expected.things) for question in asked} == {1, 2, 3}
    assert len({question.turns[0].pieces for question in asked}) == 60
