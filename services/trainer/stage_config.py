"""The config file of a recipe: TOML with one table for each stage, in which an unknown key is an error."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt, ValidationError

from anygpt.errors import InvalidInput
from services.trainer.recipe import Recipe

MINI = Path(__file__).parent / "mini.toml"
"""The recipe for two processors."""
GPU = MINI.with_name("mini-gpu.toml")
"""The recipe for one large accelerator."""
_NOT_OF_A_RUN = ("minutes", "steps", "batch", "sizes", "amounts")
Size = bool | int | FiniteFloat | tuple[int, ...]
"""A setting of a part's constructor."""


class StageConfig(BaseModel):
    """What may be set of one stage; what is not set is the stage's own choice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    minutes: FiniteFloat = Field(default=math.inf, gt=0)
    steps: PositiveInt = 100_000
    learning_rate: FiniteFloat | None = Field(default=None, gt=0)
    warmup: PositiveInt | None = None
    weight_decay: FiniteFloat | None = Field(default=None, ge=0)
    clip: FiniteFloat | None = Field(default=None, gt=0)
    bf16: bool | None = None
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    shards: PositiveInt | None = None
    save_every: PositiveInt | None = None
    log_every: PositiveInt | None = None
    batch: PositiveInt = 1
    sizes: Mapping[str, Mapping[str, Size]] = Field(default_factory=dict)
    amounts: Mapping[str, PositiveInt] = Field(default_factory=dict)

    def in_part(self, part: float) -> StageConfig:
        """The same stage in so much of its minutes."""
        return self.model_copy(update={"minutes": part * self.minutes})

    def applied(self, recipe: Recipe, minutes: float | None, steps: int | None) -> Recipe:
        """A recipe with this config, its budget replaced by the one given."""
        options = self.model_dump(exclude_none=True, exclude=set(_NOT_OF_A_RUN))
        return replace(
            recipe, minutes=self.minutes if minutes is None else minutes,
            steps=self.steps if steps is None else steps, options=options,
            batch=self.batch, sizes=self.sizes, amounts=self.amounts,
        )  # fmt: skip


def check_budget(option: str, value: float | None) -> None:
    """Raise InvalidInput for what is given and is not more than 0."""
    if value is not None and not value > 0:
        raise InvalidInput("has to be more than 0", field=option)


def read_config(path: Path, stages: Collection[str]) -> dict[str, StageConfig]:
    """A config for each stage, the default for those that the file leaves out.

    Raises InvalidInput naming the stage and the key that are wrong.
    """
    if not path.is_file():
        raise InvalidInput(f"there is no config {path.name}", reason="CONFIG_MISSING", field="--config")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, numbers or tables beyond all measure
        raise InvalidInput(f"{path.name}: {error}", reason="CONFIG_MALFORMED", field="--config") from error
    unknown = sorted(set(tables) - set(stages))
    if unknown:
        raise InvalidInput(f"there is no stage {unknown[0]!r}", reason="CONFIG_UNKNOWN", field=unknown[0])
    return {name: _stage(name, tables.get(name, {})) for name in stages}


def _stage(name: str, table: object) -> StageConfig:
    try:
        return StageConfig.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join((name, *map(str, first["loc"])))
        raise InvalidInput(f"{key}: {first['msg']}", reason="CONFIG_UNKNOWN", field=key) from error
