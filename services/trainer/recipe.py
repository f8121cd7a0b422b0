"""What every recipe shares: where things are, how long to learn, and how a trained part is kept."""

from __future__ import annotations

import copy
import hashlib
import inspect
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from anygpt.errors import DataLoss, InvalidInput, Precondition
from anygpt.whole import UNFINISHED, complete
from anygpt_models.part import Part
from services.trainer.device import untouched_randomness
from services.trainer.locking import lock_beside, taken
from services.trainer.loop import Run
from services.trainer.processes import once

Model = TypeVar("Model", bound=Part)
Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class Recipe:
    """One stage of training: data live under the cache, what learning leaves in runs, trained parts in the pack."""

    cache: Path
    pack: Path
    runs: Path
    """Folder of a folder for each stage."""
    stage: str = ""
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
        """A run of the stage; options are fields of `Run`."""
        chosen = {"resume": self.resume, **options, **self.options}
        return Run(self.folder / name, self.steps, self.minutes, **chosen)

    @property
    def folder(self) -> Path:
        """Where the runs of the stage are."""
        return self.runs / self.stage

    def forget(self, stages: Sequence[str]) -> None:
        """Remove what earlier runs of stages left: a resume has to find nothing that this recipe did not make."""

        def remove() -> None:
            for stage in stages:
                shutil.rmtree(self.runs / stage, ignore_errors=True)

        once(remove)

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

        It begins the same every time: a resume must not find what is frozen in it changed. Raises InvalidInput for a
        setting that the part does not have, or cannot have so.
        """
        chosen = {**settings, **self.sizes.get(part, {})}
        unknown = sorted(set(chosen) - set(inspect.signature(kind).parameters))
        if unknown:
            name = f"sizes.{part}.{unknown[0]}"
            raise InvalidInput(
                f"{kind.__name__} has no setting {unknown[0]!r}", reason="CONFIG_UNKNOWN", field=name
            )
        try:
            with untouched_randomness():
                torch.manual_seed(0)
                return kind(*arguments, **chosen)
        except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
            if part not in self.sizes:
                raise
            message = f"{kind.__name__} cannot be built so: {error}"
            raise InvalidInput(message, reason="CONFIG_SIZES", field=f"sizes.{part}") from error

    def keep(self, model: Part, part: str) -> None:
        """Write a trained part into the pack, in half precision. Raises DataLoss for weights that it does not hold."""
        kept = copy.deepcopy(model)
        for name, weight in kept.named_parameters():
            weight.data = weight.data.half()
            if not weight.isfinite().all():
                message = f"{self.stage}: {name} of {part} is beyond half precision, the pack stays as it is"
                raise DataLoss(message, reason="DIVERGED", field=part)
        once(lambda: kept.save_pretrained(self.pack / part))

    def part(self, model: type[Model], part: str) -> Model:
        """A part of the pack as it will be served: rounded to half precision, computed in single."""
        return model.open(self.pack / part)


@contextmanager
def held(*folders: Path) -> Iterator[None]:
    """Keep other commands from training in folders, which need not be there; of processes that share a run one does.

    Raises Precondition where another command holds one of them.
    """
    with ExitStack() as locks:

        def hold() -> None:
            for folder in folders:
                locks.enter_context(_held(folder.resolve()))

        once(hold)
        yield


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    with lock_beside(folder) as lock:
        if not taken(lock):
            message = f"another command is training in {folder}: wait for its end, or name another folder"
            raise Precondition(message, reason="TRAINING_RUNS", field=folder.name)
        yield


def pack_of(cache: Path) -> Path:
    """Where the shell makes the mini pack: the one that is shipped stays as it is."""
    return cache / "packs" / "mini"


def begin_with(pack: Path, source: Path) -> None:
    """Copy a pack to where there is none; a kill leaves none, and what has been copied for the next time."""
    if not pack.exists():
        unfinished = pack.with_name(f"{pack.name}{UNFINISHED}")
        complete(unfinished, source)
        unfinished.rename(pack)


def runs_of(cache: Path, pack: Path) -> Path:
    """Where the shell keeps the runs that make a pack: two packs of one name do not meet."""
    return cache / "runs" / f"{pack.name}-{hashlib.sha256(str(pack.resolve()).encode()).hexdigest()[:6]}"


def channels_last(model: Net) -> Net:
    """The memory layout in which convolutions are fastest on a CPU."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[no-any-return,call-overload]
