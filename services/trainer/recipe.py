"""What every recipe shares: where things are, how long to learn, and how a trained part is kept."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from anygpt.errors import InvalidInput
from anygpt_models.part import Part
from services.trainer.loop import Run
from services.trainer.processes import once

Model = TypeVar("Model", bound=Part)
Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class Recipe:
    """One stage of training: data and runs live under the cache, trained parts go into the pack."""

    cache: Path
    pack: Path
    minutes: float = math.inf
    steps: int = 100_000
    resume: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Run` that a config file sets; they go before a stage's own."""
    batch: int = 1
    """How many times a stage's own batch is drawn at once."""
    sizes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Part -> settings of its constructor, which go before a stage's own."""
    amounts: Mapping[str, int] = field(default_factory=dict)
    """How many examples of each sort are built, where a stage says that it can be told."""

    def run(self, name: str, **options: Any) -> Run:
        """The run of a stage under `<cache>/runs/<name>`; options are fields of `Run`."""
        chosen = {"resume": self.resume, **options, **self.options}
        return Run(self.cache / "runs" / name, self.steps, self.minutes, **chosen)

    def many(self, count: int) -> int:
        """A stage's own number of examples in a step, at the size of batch that the config asks for."""
        return count * self.batch

    def amount(self, own: Mapping[str, int]) -> Mapping[str, int]:
        """A stage's own amounts, with those of the config. Raises InvalidInput for one that it does not know."""
        unknown = sorted(set(self.amounts) - set(own))
        if unknown:
            name = f"amounts.{unknown[0]}"
            raise InvalidInput(f"there are {', '.join(own)}", reason="CONFIG_UNKNOWN", field=name)
        return {**own, **self.amounts}

    def build(self, kind: type[Model], part: str, *arguments: Any, **settings: Any) -> Model:
        """A new part, with the settings of a stage and before them those of the config.

        Raises InvalidInput for a setting that the part does not have.
        """
        chosen = {**settings, **self.sizes.get(part, {})}
        unknown = sorted(set(chosen) - set(inspect.signature(kind).parameters))
        if unknown:
            name = f"sizes.{part}.{unknown[0]}"
            raise InvalidInput(
                f"{kind.__name__} has no setting {unknown[0]!r}", reason="CONFIG_UNKNOWN", field=name
            )
        return kind(*arguments, **chosen)

    def keep(self, model: Part, part: str) -> None:
        """Write a trained part into the pack, in half precision."""
        kept = copy.deepcopy(model)
        for weight in kept.parameters():
            weight.data = weight.data.half()
        once(lambda: kept.save_pretrained(self.pack / part))

    def part(self, model: type[Model], part: str) -> Model:
        """A part of the pack as it will be served: rounded to half precision, computed in single."""
        return model.open(self.pack / part)


def channels_last(model: Net) -> Net:
    """The memory layout in which convolutions are fastest on a CPU."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[no-any-return,call-overload]
