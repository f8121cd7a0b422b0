"""A round trip for each modality of a pack: asked for, made, downloaded, shown to the system again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from anygpt.client import Client, Media, Options
from anygpt.embedded import embedded
from anygpt.errors import AnyGPTError
from anygpt.pack import Pack
from anygpt.topology import MODALITY_NAMES, TEXT
from services.trainer.pack_check import Defect

RULE = "round trip"
SEED = 5
TIMEOUT_S = 600.0


def round_trips(pack: Pack) -> Iterator[tuple[str, list[Defect]]]:
    """Each modality and its defects, through every service of the pack in one process."""
    with (
        tempfile.TemporaryDirectory(prefix="anygpt-check-") as data,
        embedded(Path(data), f"{pack.folder.resolve()}") as address,
        Client(address) as client,
    ):
        for modality in pack.outputs:
            name = MODALITY_NAMES[modality]
            try:
                _go(client, name, comes_in=modality in pack.inputs)
            except AnyGPTError as error:
                yield name, [Defect(RULE, name, f"{error.reason}: {error.message}")]
            else:
                yield name, []


def _go(client: Client, name: str, comes_in: bool) -> None:
    """Raises the error of whatever breaks."""
    made = client.answer("A round trip.", options=Options(want=[name], seed=SEED, timeout_s=TIMEOUT_S))
    if name == MODALITY_NAMES[TEXT]:
        return
    references = made.media(name)
    if not references:
        raise AnyGPTError(f"no {name} came", reason="NOTHING_MADE")
    data = client.download(references[0].object)
    if comes_in:
        client.answer(Media(data, name), options=Options(want=["text"], seed=SEED, timeout_s=TIMEOUT_S))
