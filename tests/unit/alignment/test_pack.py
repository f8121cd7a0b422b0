from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from anygpt.errors import Exhausted, Precondition
from anygpt.pack import MANIFEST, open_pack, packs_folder
from anygpt.topology import MODALITY_NAMES
from anygpt_models.speech_units import UNIT_COUNT
from services.trainer import pack

MINI = packs_folder() / "mini"


def test_mini_opens_and_its_digests_hold() -> None:
    mini = open_pack("mini")
    assert set(mini.inputs) == set(mini.outputs) == set(MODALITY_NAMES)
    assert mini.vocabulary.size == 49152 + 44 + UNIT_COUNT


def test_mini_is_small_enough_for_a_repository() -> None:
    assert sum(path.stat().st_size for path in MINI.rglob("*") if path.is_file()) < pack.MOST_BYTES + 100_000


def test_every_part_of_mini_names_its_licence_and_where_it_comes_from() -> None:
    parts = open_pack("mini").manifest.parts
    assert {"llm_adapter", "tokenizer", "image_input_projection", "audio_output_projection"} <= set(parts)
    assert all(entry.licence and entry.provenance for entry in parts.values())


@pytest.fixture
def small(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    shutil.copytree(MINI / "speech_units", folder / "speech_units")
    return folder


def test_a_manifest_lists_every_file_with_its_digest(small: Path) -> None:
    manifest = pack.build_manifest(small)
    assert list(manifest.files) == ["speech_units/units.json"]
    assert open_pack(str(small)).manifest == manifest


def test_building_a_manifest_again_changes_nothing(small: Path) -> None:
    pack.build_manifest(small)
    before = (small / MANIFEST).read_bytes()
    pack.build_manifest(small)
    assert (small / MANIFEST).read_bytes() == before


def test_a_file_that_was_changed_is_named(small: Path) -> None:
    pack.build_manifest(small)
    (small / "speech_units" / "units.json").write_text("{}")
    with pytest.raises(Precondition, match=r"units\.json was changed"):
        open_pack(str(small))


def test_a_pack_that_is_too_big_is_refused(small: Path) -> None:
    with (small / "speech_units" / "big.bin").open("wb") as file:
        file.truncate(pack.MOST_BYTES)
    with pytest.raises(Exhausted, match="30 are allowed"):
        pack.build_manifest(small)


def test_a_part_of_unknown_origin_is_refused(small: Path) -> None:
    (small / "mystery").mkdir()
    with pytest.raises(Precondition, match="mystery"):
        pack.build_manifest(small)


def test_voices_are_those_of_the_synthesiser(small: Path) -> None:
    (small / "speech_synthesiser").mkdir()
    (small / "speech_synthesiser" / "config.json").write_text(json.dumps({"voices": ["joe", "heart"]}))
    assert pack.build_manifest(small).voices == ("joe", "heart")
