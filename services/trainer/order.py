"""Orders: what a trainer is asked for over its queue, and the folder that comes of it, here and in the store."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from anygpt.identity import new_id
from anygpt.whole import write_whole

QUEUE = "anygpt-trainer"
TAKE_ORDER = "anygpt.trainer.take_order"
HELD_S = 600.0
"""After which an order of a trainer that does not hold it any more is another's."""
MOST_KILLS = 3
"""After which an order whose process somebody kills, as a machine does that runs out of memory, has failed."""
FILE, LOG = "order.json", "log.txt"
PACK, RUNS = "pack", "runs"
"""What is in the folder of an order."""


class Order(BaseModel):
    """A stage of the recipe, or all of them, and how far it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    order_id: str = Field(default_factory=new_id, pattern="^[0-9A-Za-z-]+$")
    stage: str = Field(default="", description="Empty: the whole recipe, from nothing.")
    minutes: float | None = Field(default=None, gt=0, description="Of each stage; none: the recipe's own.")
    state: Literal["waiting", "running", "done", "failed"] = "waiting"
    kills: int = Field(default=0, ge=0, description="How often its process was killed, but for shutdowns.")

    @property
    def is_open(self) -> bool:
        """Whether there is something left to do."""
        return self.state in {"waiting", "running"}

    def now(self, state: Literal["running", "done", "failed"], folder: Path) -> Order:
        """The order in another state, which is written into its folder."""
        told = self.model_copy(update={"state": state})
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / FILE, told.model_dump_json(indent=2) + "\n")
        return told

    def killed(self, folder: Path) -> Order:
        """The order after one kill more, which is written into its folder: open still, unless it was the last."""
        told = self.model_copy(update={"kills": self.kills + 1})
        return told.now("running" if told.kills < MOST_KILLS else "failed", folder)


def told_in(folder: Path) -> Order | None:
    """The order as its folder has it, where it has one that can be read: a message may come again after its end."""
    try:
        return Order.model_validate_json((folder / FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
