"""The classes of parts by the name that their `config.json` keeps."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import chain
from pathlib import Path

import torch
from safetensors import safe_open

import anygpt_models
from anygpt.errors import Precondition
from anygpt_models.eight_bits import SCALE
from anygpt_models.part import CLASS, WEIGHTS, Part, read_config

MOST = 1 << 17
"""No setting of a part is a larger number: layers are made one by one, even without their weights."""


@dataclass(frozen=True)
class TensorForm:
    """What is known of a tensor that was not read."""

    shape: tuple[int, ...]
    is_whole: bool
    """Whether its numbers are whole ones; weights in 8 bits are not, for each row has its scale."""

    def __str__(self) -> str:
        return f"{self.shape}{' of whole numbers' if self.is_whole else ''}"


Forms = dict[str, TensorForm]


@cache
def part_classes() -> dict[str, type[Part]]:
    """Every class of part, by name."""
    for module in pkgutil.iter_modules(anygpt_models.__path__):
        if not module.ispkg:
            import_module(f"{anygpt_models.__name__}.{module.name}")
    return {kind.__name__: kind for kind in Part.__subclasses__()}


def class_name(part: Path) -> str:
    """The class that a part's configuration names; empty where it is no part of ours."""
    return str(read_config(part).get(CLASS, ""))


def _numbers(value: object) -> Iterator[int]:
    match value:
        case int():
            yield value
        case list():
            yield from chain.from_iterable(map(_numbers, value))
        case dict():
            yield from chain.from_iterable(map(_numbers, value.values()))


def due_forms(part: Path) -> Forms:
    """The tensors that a part must have by its configuration. Raises Precondition for a class that is not ours."""
    name = class_name(part)
    kind = part_classes().get(name)
    if kind is None:
        raise Precondition(f"there is no part of class {name!r}", reason="PACK_PART_UNKNOWN", field=part.name)
    if most := next((value for value in _numbers(read_config(part)) if value > MOST), None):
        raise Precondition(f"{most} is more than anything has", reason="PACK_PART_UNKNOWN", field=part.name)
    with torch.device("meta"):
        model = kind.from_config(part)
    return {
        key: TensorForm(tuple(tensor.shape), not tensor.is_floating_point())
        for key, tensor in model.state_dict().items()
    }


def kept_forms(part: Path) -> Forms:
    """The tensors that a part has, without reading them."""
    with safe_open(part / WEIGHTS, framework="pt") as file:
        names = set(file.keys())
        slices = {name: file.get_slice(name) for name in names if not name.endswith(SCALE)}
        return {
            name: TensorForm(
                tuple(each.get_shape()), name + SCALE not in names and "F" not in each.get_dtype()
            )
            for name, each in slices.items()
        }
