"""A data set as files: what one example is, and how many become a folder."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch

from services.trainer.data.npm import Package

Split = Literal["train", "held_out"]
SPLITS: tuple[Split, ...] = ("train", "held_out")
METADATA, CARD = "metadata.jsonl", "card.json"
DIGITS = 6
"""Of the number that a file has for its name."""


@dataclass(frozen=True)
class Example:
    """One medium as a file, its caption, what it shows, and the assets that it was made of, as `package/file`."""

    suffix: str
    data: bytes
    caption: str
    shows: Mapping[str, Any]
    assets: Sequence[str]


@dataclass(frozen=True)
class DataSet:
    """Where a data set comes from, what its splits keep apart, and its examples of a split, drawn by a seed."""

    sources: Callable[[Path], Sequence[Package]]
    apart: str
    examples: Callable[[Path, Split, random.Random], Iterator[Example]]

    def write(self, cache: Path, folder: Path, count: int, seed: int) -> dict[Split, int]:
        """Write at most `count` examples of each split, and a card; how many there are of each.

        Each split has a folder with `metadata.jsonl` beside the files: the layout that the library datasets reads. What
        an earlier call wrote there is removed, and the card is written last.
        """
        (folder / CARD).unlink(missing_ok=True)
        counts = {split: self._write(cache, folder, split, count, seed) for split in SPLITS}
        card = {
            "name": folder.name, "seed": seed, "counts": counts, "apart": self.apart,
            "sources": [asdict(source) for source in self.sources(cache)],
        }  # fmt: skip
        (folder / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        return counts

    def _write(self, cache: Path, folder: Path, split: Split, count: int, seed: int) -> int:
        (folder / split).mkdir(parents=True, exist_ok=True)
        for earlier in (folder / split).glob(f"{'[0-9]' * DIGITS}.*"):
            earlier.unlink()
        pick, number = random.Random(f"{seed} {folder.name} {split}"), 0
        with torch.random.fork_rng([]), (folder / split / METADATA).open("w", encoding="utf-8") as metadata:
            torch.manual_seed(pick.randrange(1 << 40))
            for number, example in enumerate(islice(self.examples(cache, split, pick), count), 1):
                name = f"{number:0{DIGITS}}.{example.suffix}"
                (folder / split / name).write_bytes(example.data)
                row = {"file_name": name, "text": example.caption, "split": split, "shows": example.shows}
                metadata.write(json.dumps(row | {"assets": [*example.assets]}, ensure_ascii=False) + "\n")
        return number
