"""The trainer's command that writes the world as files: `anygpt data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def data(
    out: Annotated[Path, typer.Argument(help="A folder; each data set gets one of its own in it.")],
    only: Annotated[str, typer.Option(help="Data sets, with commas between; empty: all.")] = "",
    count: Annotated[int, typer.Option(min=1, help="Examples of each split, at most.")] = 500,
    seed: Annotated[int, typer.Option(help="Same seed, same examples.")] = 0,
    cache: Annotated[Path, typer.Option(help="Folder of what packages brought.")] = Path("~/.cache/anygpt"),
) -> None:
    """Write pictures, clips, animations, sounds and speech with captions, splits and where each comes from."""
    from anygpt.errors import InvalidInput
    from services.trainer.export.heard import HEARD
    from services.trainer.export.seen import SEEN

    known = {**SEEN, **HEARD}
    names = [name.strip() for name in only.split(",") if name.strip()] or [*known]
    if unknown := [name for name in names if name not in known]:
        message = f"there is no data set {unknown[0]!r}; there are {', '.join(known)}"
        raise InvalidInput(message, reason="DATA_UNKNOWN", field="--only")
    for name in names:
        counts = known[name].write(cache.expanduser(), out / name, count, seed)
        print(f"{name}: " + ", ".join(f"{number} of {split}" for split, number in counts.items()))
