"""Keys of a config that would do nothing: refused before anything is done, by what each stage says of itself."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anygpt.errors import InvalidInput
from services.trainer import loop
from services.trainer.mini import Stage, all_stages, read_configs
from services.trainer.settable import SETTABLE, Settable
from services.trainer.stage_config import GPU, MINI

Names = dict[str, Any]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('["image.codec"]\nsizes = { image_kodec = { width = 4 } }', "image.codec.sizes.image_kodec.width"),
        ('["image.codec"]\nsizes = { vocoder = { channels = 8 } }', "image.codec.sizes.vocoder.channels"),
        ('["audio.vocoder"]\nsizes = { vocoder = { widht = 8 } }', "audio.vocoder.sizes.vocoder.widht"),
        ('["audio.timbre"]\nsizes = { audio_codec = { width = 8 } }', "audio.timbre.sizes.audio_codec.width"),
        ('["alignment.converse"]\namounts = { made = 5 }', "alignment.converse.amounts.made"),
        ('["alignment.read"]\nbatch = 2', "alignment.read.batch"),
        ('["alignment.read"]\nminutes = 2', "alignment.read.minutes"),
        ('["audio.judge"]\nsteps = 2', "audio.judge.steps"),
    ],
)
def test_a_key_that_would_do_nothing_is_named_by_stage_and_key(tmp_path: Path, text: str, field: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(text)
    with pytest.raises(InvalidInput) as caught:
        read_configs(config)
    assert (caught.value.reason, caught.value.field) == ("CONFIG_UNKNOWN", field)


@pytest.mark.parametrize("path", [MINI, GPU])
def test_every_key_of_our_own_configs_does_something(path: Path) -> None:
    assert list(read_configs(path)) == list(all_stages())


def reached(stage: Stage) -> Iterator[tuple[ast.AST, Names]]:
    """The code of a stage and of all in the trainer that it names, each with the names of its module."""
    found, due = set[Any](), list[Any]([stage])
    while due:
        if (one := due.pop()) in found:
            continue
        found.add(one)
        tree, names = ast.parse(textwrap.dedent(inspect.getsource(one))), vars(sys.modules[one.__module__])
        yield tree, names
        named = [names.get(node.id) for node in ast.walk(tree) if isinstance(node, ast.Name)]
        due += [other for other in named if inspect.isfunction(other) or inspect.isclass(other)]
        due = [other for other in due if other.__module__.startswith("services.trainer")]


def asked(stage: Stage) -> Settable | None:
    """What a stage asks its recipe for, by its code; None where it does not learn."""
    builds, amounts, has_batch, learns = dict[str, Any](), set[str](), False, False
    for tree, names in reached(stage):
        for node in ast.walk(tree):
            match node:
                case ast.Call(ast.Attribute(ast.Name("recipe"), "build"), [kind, part, *_]):
                    builds[value(part, names)] = value(kind, names)
                case ast.Call(ast.Attribute(ast.Name("recipe"), "amount"), [own]):
                    amounts |= set(value(own, names))
                case ast.Call(ast.Attribute(ast.Name("recipe"), "many")):
                    has_batch = True
                case ast.Call(ast.Name("train")):
                    learns = learns or names["train"] is loop.train
    return Settable(builds, sorted(amounts), has_batch) if learns else None


def value(node: ast.AST, names: Names) -> Any:
    """What a constant or a name stands for."""
    return node.value if isinstance(node, ast.Constant) else names[ast.unparse(node)]


@pytest.mark.parametrize("name", list(all_stages()))
def test_what_may_be_set_of_a_stage_is_what_its_code_asks_for(name: str) -> None:
    known = SETTABLE.get(name)
    expected = known and Settable(known.builds, sorted(known.amounts), known.has_batch)
    assert asked(all_stages()[name]) == expected
