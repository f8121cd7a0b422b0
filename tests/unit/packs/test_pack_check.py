from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from anygpt.errors import Precondition
from anygpt.pack import MANIFEST, file_digest, open_pack, packs_folder, read_pack
from anygpt_models.part import CONFIG, WEIGHTS
from services.trainer.pack_check import Defect, check
from services.trainer.pack_commands import pack


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The mini pack, where a test may break it."""
    return Path(shutil.copytree(packs_folder() / "mini", tmp_path / "copy"))


def defects(folder: Path) -> list[Defect]:
    return check(read_pack(f"{folder}/"))


def listed(folder: Path, path: str) -> None:
    """Let the manifest know of a file as it is now."""
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][path] = file_digest(folder / path)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def changed(folder: Path, **sections: object) -> None:
    """Replace sections of the manifest."""
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | sections))


def test_no_rule_is_broken_by_mini() -> None:
    assert check(read_pack("mini")) == []


def test_a_changed_a_missing_and_a_foreign_file_are_each_named(copy: Path) -> None:
    (copy / "speech_units" / "units.json").write_text("{}")
    (copy / "samples" / "face.png").unlink()
    (copy / "samples" / "more.png").write_bytes(b"more")
    found = {defect.field: defect.message for defect in defects(copy) if defect.rule == "digests"}
    assert found == {
        "speech_units/units.json": "the file is not what its sha256 says",
        "samples/face.png": "the file is missing",
        "samples/more.png": "the file is not in the manifest",
    }


@pytest.mark.parametrize(
    ("file", "content"), [("w.bin", b"\0"), ("w.json", b"\x80\x04."), ("w.txt", b"PK\3\4")]
)
def test_a_pickle_is_refused_by_its_name_and_by_its_content(copy: Path, file: str, content: bytes) -> None:
    (copy / "image_codec" / file).write_bytes(content)
    listed(copy, f"image_codec/{file}")
    assert [defect.field for defect in defects(copy) if defect.rule == "no pickle"] == [f"image_codec/{file}"]


def test_a_pack_with_a_pickle_is_not_even_opened(copy: Path) -> None:
    (copy / "image_codec" / "weights.pt").write_bytes(b"\x80\x04.")
    listed(copy, "image_codec/weights.pt")
    with pytest.raises(Precondition, match=r"weights\.pt is a pickle"):
        open_pack(f"{copy}/")


def test_weights_of_another_shape_are_named(copy: Path) -> None:
    path = copy / "vocoder" / WEIGHTS
    tensors = load_file(path)
    name = min(tensors)
    tensors[name] = torch.cat([tensors[name]] * 2)
    save_file(tensors, path)
    listed(copy, f"vocoder/{WEIGHTS}")
    found = [defect for defect in defects(copy) if defect.rule == "shapes"]
    assert [defect.field for defect in found] == ["vocoder"]
    assert name in found[0].message


def test_a_file_that_only_calls_itself_safetensors_is_named(copy: Path) -> None:
    (copy / "vocoder" / WEIGHTS).write_bytes(b"\xff" * 64)
    listed(copy, f"vocoder/{WEIGHTS}")
    assert {defect.field for defect in defects(copy)} == {"vocoder", f"vocoder/{WEIGHTS}"}


def test_a_vocabulary_that_is_not_the_adapters_is_named(copy: Path) -> None:
    vocabulary = json.loads((copy / MANIFEST).read_text())["vocabulary"]
    vocabulary["blocks"] = vocabulary["blocks"][2:]
    changed(copy, vocabulary=vocabulary)
    found = {(defect.field, defect.message) for defect in defects(copy)}
    assert ("image", "the vocabulary has no brackets for what comes in") in found
    assert ("llm_adapter", "tokens should be 8230, is 8236") in found


def test_units_that_are_not_as_many_as_the_codes_of_speech_are_named(copy: Path) -> None:
    vocabulary = json.loads((copy / MANIFEST).read_text())["vocabulary"]
    block = next(block for block in vocabulary["blocks"] if block["kind"] == "codes")
    block["count"] = 1024
    changed(copy, vocabulary=vocabulary)
    found = {defect.message for defect in defects(copy) if defect.field in ("speech_units", "llm_adapter")}
    assert found == {
        "there are 8192 units, the vocabulary has 1024 codes of speech",
        "tokens should be 1068, is 8236",
        "codes should be 1024, is 8192",
    }


@pytest.mark.parametrize(
    ("book", "message"),
    [
        ([8, 4, 10], "8 codes stand after 10 tokens, where the vocabulary has none such"),
        ([9000, 4, 10], f"{WEIGHTS} cannot be read: the settings are not of LanguageAdapter"),
    ],
)
def test_rows_of_codes_that_the_vocabulary_has_not_are_named(
    copy: Path, book: list[int], message: str
) -> None:
    path = copy / "llm_adapter" / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | {"books": [book]}))
    listed(copy, f"llm_adapter/{CONFIG}")
    assert ("llm_adapter", message) in {(defect.field, defect.message) for defect in defects(copy)}


def test_a_part_without_a_licence_is_named(copy: Path) -> None:
    parts = json.loads((copy / MANIFEST).read_text())["parts"]
    parts["vocoder"]["licence"] = " "
    del parts["samples"]
    changed(copy, parts=parts)
    assert [(d.rule, d.field) for d in defects(copy)] == [("licences", "samples"), ("licences", "vocoder")]


def test_a_broken_pack_fails_the_command_with_each_defect_on_a_line(copy: Path) -> None:
    (copy / "samples" / "face.png").unlink()
    result = CliRunner().invoke(pack, ["check", f"{copy}/"])
    assert result.exit_code == 1
    assert "samples/face.png: the file is missing" in result.output


def test_a_pack_is_shown_with_its_vocabulary_its_modalities_and_its_licences() -> None:
    result = CliRunner().invoke(pack, ["show", "mini"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for words in ("57,388 rows", "49152", "signals of video", "llm_adapter", "Apache-2.0"):
        assert words in result.output


@pytest.mark.slow
def test_mini_goes_round_in_every_modality() -> None:
    result = CliRunner().invoke(pack, ["check", "mini"])
    assert result.output.count("holds") == 10, result.output
    assert result.exit_code == 0
