"""The commands that ask trainers elsewhere: `anygpt train submit | fetch`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from services.trainer.settings import Settings

Stage = Annotated[str, typer.Option(help="One stage, e.g. image.codec; empty: all, in order.")]
Minutes = Annotated[float | None, typer.Option(help="Budget of each stage; empty: the config's.")]


def submit(
    stage: Stage = "",
    minutes: Minutes = None,
    broker: Annotated[str, typer.Option(help="The trainers' broker; empty: as they find it.")] = "",
) -> None:
    """Order a pack, or one stage of it, from the trainers that take orders; prints the order's id."""
    import asyncio

    from anygpt.queue import broker_url, enqueue, open_queue
    from services.trainer.mini import check_stage
    from services.trainer.order import HELD_S, QUEUE, TAKE_ORDER, Order
    from services.trainer.settings import Settings
    from services.trainer.stage_config import check_budget

    if stage:
        check_stage(stage)
    check_budget("--minutes", minutes)
    settings, order = Settings(), Order(stage=stage, minutes=minutes)
    queue = open_queue(broker_url(settings, broker or settings.broker), QUEUE, HELD_S)
    asyncio.run(enqueue(queue, TAKE_ORDER, order.order_id, order.stage, order.minutes))
    print(order.order_id)


def fetch(
    order_id: Annotated[str, typer.Argument(metavar="ORDER", help="What submit printed.")],
    out: Annotated[Path, typer.Argument(help="Folder for the order's own folder.")],
    store: Annotated[str | None, typer.Option(help="The trainers' store; empty: as they find it.")] = None,
) -> None:
    """Bring the pack, runs and log of an order from the store, as far as they are."""
    import asyncio

    from services.trainer.order import Order, told_in
    from services.trainer.settings import Settings

    count = asyncio.run(_fetch(Settings() if store is None else Settings(store=store), order_id, out))
    state = (told_in(out / order_id) or Order(order_id=order_id)).state
    print(f"{state}: {count} files in {out / order_id}")


async def _fetch(settings: Settings, order_id: str, out: Path) -> int:
    from anygpt.connections import open_store
    from anygpt.errors import NotFound
    from services.trainer.keeping import KeptOrders

    opened = await open_store(settings)
    try:
        count = await KeptOrders(opened, out).fetch(order_id)
    finally:
        await opened.close()
    if not count:
        raise NotFound(f"there is no order {order_id}, or nobody has taken it yet", field="ORDER")
    return count
