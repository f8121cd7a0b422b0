from __future__ import annotations

import json
import math
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from anygpt.errors import Precondition
from anygpt.pack import MANIFEST, file_digest, open_pack, packs_folder, read_pack
from anygpt_models.eight_bits import SCALE
from anygpt_models.part import CONFIG, WEIGHTS
from services.trainer.pack import EVALUATION, REPORTS
from services.trainer.pack_check import Defect, check
from services.trainer.pack_commands import pack


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The mini pack without what was measured of it, where a test may break it."""
    left_out = shutil.ignore_patterns(*REPORTS)
    return Path(shutil.copytree(packs_folder() / "mini", tmp_path / "copy", ignore=left_out))


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


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("w.gguf", b"\x80\x04.", "a pickle can run code: weights are safetensors"),
        ("w.gguf", b"PK\3\4", "a pickle can run code: weights are safetensors"),
        ("w.gguf", b"cos\nsystem\n", "the file is no GGUF"),
        ("w.npz", b"\x80\x04.", "a pickle can run code: weights are safetensors"),
        ("w.npz", b"PK\3\4", "the file holds more than plain arrays"),
    ],
)
def test_a_pickle_is_refused_under_the_name_of_other_weights(
    copy: Path, file: str, content: bytes, message: str
) -> None:
    (copy / "image_codec" / file).write_bytes(content)
    listed(copy, f"image_codec/{file}")
    assert defects(copy) == [Defect("no pickle", f"image_codec/{file}", message)]


def test_tokens_that_were_added_behind_the_text_do_no_harm(copy: Path) -> None:
    path = copy / TOKENIZER
    tokens = json.loads(path.read_text(encoding="utf-8"))
    tokens["added_tokens"].append({**tokens["added_tokens"][-1], "content": "[PAD]", "id": 49152})
    path.write_text(json.dumps(tokens), encoding="utf-8")
    listed(copy, TOKENIZER)
    assert defects(copy) == []


@pytest.mark.parametrize("file", ["image_pipeline.py", "image_codec/more.py"])
def test_python_that_diffusers_would_run_is_this_packages_own(copy: Path, file: str) -> None:
    (copy / file).write_text("import os\n")
    listed(copy, file)
    message = "Python that is not this package's: diffusers would run it"
    assert defects(copy) == [Defect("no pickle", file, message)]


@pytest.mark.parametrize(
    ("name", "array", "plain"),
    [
        ("a.npy", np.zeros(3), True),
        ("a.npy", np.array([{}]), False),
        ("a.npy", np.zeros(1, dtype=[("b", object)]), False),
        ("data.pkl", np.zeros(3), False),
    ],
)
def test_an_archive_of_arrays_holds_numbers_alone(
    copy: Path, name: str, array: NDArray[Any], plain: bool
) -> None:
    path = copy / "image_codec" / "w.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open(name, "w") as member:
        np.save(member, array)
    listed(copy, "image_codec/w.npz")
    assert [defect.rule for defect in defects(copy)] == ([] if plain else ["no pickle"])


@pytest.mark.parametrize(
    "path", ["{0}/outside.json", "../outside.json", "samples/../../outside.json", "samples/link.json"]
)
def test_a_file_outside_the_pack_is_refused_by_its_path(copy: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "outside.json").write_text("{}")
    path = path.format(tmp_path)
    if "link" in path:
        (copy / path).symlink_to(tmp_path / "outside.json")
    listed(copy, path)
    assert defects(copy) == [Defect("digests", path, "it is a link, or lies outside the pack")]
    with pytest.raises(Precondition, match=f"{path} lies outside the pack"):
        open_pack(f"{copy}/")


@pytest.mark.parametrize("name", ["folder", "tokenizer"])
def test_a_language_model_outside_the_pack_is_refused(copy: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(copy / "tokenizer", tmp_path / "other")
    base = json.loads((copy / MANIFEST).read_text())["base_model"]
    changed(copy, base_model=base | {name: "../other"})
    assert [(defect.rule, defect.field) for defect in defects(copy)] == [("digests", "../other")]
    with pytest.raises(Precondition, match="other lies outside the pack"):
        open_pack(f"{copy}/")


def test_a_folder_that_is_a_link_is_refused_whatever_it_holds(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "weights.pt").write_bytes(b"\x80\x04.")
    (copy / "vocoder" / "more").symlink_to(tmp_path / "hidden")
    assert [(defect.rule, defect.field) for defect in defects(copy)] == [("digests", "vocoder/more")]


def test_files_below_a_folder_that_is_a_link_are_not_opened(copy: Path, tmp_path: Path) -> None:
    (copy / "vocoder").rename(tmp_path / "vocoder")
    (copy / "vocoder").symlink_to(tmp_path / "vocoder")
    with pytest.raises(Precondition, match=r"vocoder/.* lies outside the pack"):
        open_pack(f"{copy}/")


def test_a_pack_may_itself_be_reached_through_a_link(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(copy)
    assert defects(tmp_path / "link") == []
    assert open_pack(f"{tmp_path}/link").manifest == read_pack(f"{copy}/").manifest


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


def test_weights_that_were_rounded_to_whole_numbers_are_named(copy: Path) -> None:
    path = copy / "vocoder" / WEIGHTS
    tensors = load_file(path)
    name = min(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name] = tensors[name].to(torch.int64)
    save_file(tensors, path)
    listed(copy, f"vocoder/{WEIGHTS}")
    shape = tuple(tensors[name].shape)
    message = f"{name} should be {shape}, is {shape} of whole numbers"
    assert Defect("shapes", "vocoder", message) in defects(copy)


def test_a_pack_whose_answers_nothing_ends_is_not_opened(copy: Path) -> None:
    prompt = json.loads((copy / MANIFEST).read_text())["prompt"]
    changed(copy, prompt={**prompt, "stop": []})
    with pytest.raises(Precondition, match="stop"):
        open_pack(f"{copy}/")


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
        ([9000, 4, 10], f"llm_adapter/{CONFIG} is not of LanguageAdapter"),
    ],
)
def test_rows_of_codes_that_the_vocabulary_has_not_are_named(
    copy: Path, book: list[int], message: str
) -> None:
    path = copy / "llm_adapter" / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | {"books": [book]}))
    listed(copy, f"llm_adapter/{CONFIG}")
    assert ("llm_adapter", message) in {(defect.field, defect.message) for defect in defects(copy)}


TOKENIZER, UNITS = "tokenizer/tokenizer.json", "speech_units/units.json"


@pytest.mark.parametrize(
    ("path", "content", "rule", "told"),
    [
        (TOKENIZER, b'{"model": ', "vocabulary", "tokenizer/tokenizer.json is malformed: Expecting value"),
        (TOKENIZER, b"{}", "vocabulary", "tokenizer.json names no ids"),
        (TOKENIZER, b'{"model": {"vocab": {}}}', "vocabulary", "tokenizer.json names no ids"),
        (TOKENIZER, b'{"model": {"vocab": {"a": "b"}}}', "vocabulary", "tokenizer.json names no ids"),
        (TOKENIZER, b'{"model": {"vocab": {"a": 1}}}', "vocabulary", "tokenizer.json names no ids"),
        (TOKENIZER, b'{"model": {"vocab": {"a": 49152}}, "added_tokens": []}', "vocabulary",
         "the tokenizer has id 49152, the vocabulary 49152 rows of text"),
        (TOKENIZER, b'{"model": {"vocab": {"a": 1}}, "added_tokens": [{"content": "<|im_end|>", "id": 49152}]}',
         "vocabulary", "'<|im_end|>', which ends an answer, has id 49152, which is no text"),
        (UNITS, b"[]", "vocabulary", "speech_units/units.json is malformed: it is no JSON object"),
        (UNITS, b'{"pieces": 5}', "vocabulary", "units.json has no list of pieces"),
        ("vocoder/config.json", b'{"_class_name": "Vocoder", "blocks": 10000000}', "shapes",
         "10000000 is more than anything has"),
        ("vocoder/config.json", b"{", "shapes", "vocoder/config.json is malformed: Expecting property name"),
        ("vocoder/config.json", b"\xff{}", "shapes", "vocoder/config.json is malformed: 'utf-8' codec"),
        ("vocoder/config.json", b"[" * 100_000, "shapes", "vocoder/config.json is malformed: maximum recursion"),
        ("llm_adapter/config.json", b"[]", "shapes", "llm_adapter/config.json is malformed: it is no JSON object"),
    ],
)  # fmt: skip
def test_a_malformed_file_is_one_defect_that_names_it(
    copy: Path, path: str, content: bytes, rule: str, told: str
) -> None:
    (copy / path).write_bytes(content)
    listed(copy, path)
    [found] = defects(copy)
    assert (found.rule, found.field) == (rule, Path(path).parent.name)
    assert found.message.startswith(told)


@pytest.mark.parametrize("settings", [{"books": [[8]]}, {"books": [5]}, {"books": None}, {"rank": 0}])
def test_settings_that_no_part_can_have_are_one_defect(copy: Path, settings: Mapping[str, object]) -> None:
    path = copy / "llm_adapter" / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    listed(copy, f"llm_adapter/{CONFIG}")
    message = f"llm_adapter/{CONFIG} is not of LanguageAdapter"
    assert defects(copy) == [Defect("shapes", "llm_adapter", message)]


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize("is_scale", [False, True])
def test_weights_that_are_no_numbers_are_named(copy: Path, number: float, is_scale: bool) -> None:
    path = copy / "vocoder" / WEIGHTS
    tensors = load_file(path)
    name = next(
        key for key in tensors if tensors[key].is_floating_point() and key.endswith(SCALE) == is_scale
    )
    tensors[name].view(-1)[0] = number
    save_file(tensors, path)
    listed(copy, f"vocoder/{WEIGHTS}")
    message = f"{name} has what is no number, or is beyond all of them"
    assert defects(copy) == [Defect("shapes", f"vocoder/{WEIGHTS}", message)]


def test_weights_without_settings_are_named(copy: Path) -> None:
    (copy / "vocoder" / CONFIG).unlink()
    manifest = json.loads((copy / MANIFEST).read_text())
    del manifest["files"][f"vocoder/{CONFIG}"]
    (copy / MANIFEST).write_text(json.dumps(manifest))
    assert Defect("shapes", "vocoder", "there are weights, and no config.json") in defects(copy)


def test_a_voice_that_nothing_speaks_with_is_named(copy: Path) -> None:
    changed(copy, voices=["hibari", "nobody"])
    assert defects(copy) == [Defect("shapes", "speech_synthesiser", "there is no voice 'nobody'")]


@pytest.mark.parametrize(
    ("part", "facts", "message"),
    [
        ("scheduler", {"trained": True}, "there are no parameters, the manifest says that they were trained"),
        ("scheduler", {"parameters": 5}, "there are 0 parameters, the manifest says 5"),
    ],
)
def test_figures_of_a_part_that_are_forged_are_named(
    copy: Path, part: str, facts: Mapping[str, object], message: str
) -> None:
    parts = json.loads((copy / MANIFEST).read_text())["parts"]
    parts[part].update(facts)
    changed(copy, parts=parts)
    assert defects(copy) == [Defect("figures", part, message)]


def test_what_was_measured_of_another_pack_is_named(copy: Path) -> None:
    (copy / EVALUATION).write_text(json.dumps({"sha256": file_digest(copy / MANIFEST)}))
    assert defects(copy) == []
    (copy / EVALUATION).write_text(json.dumps({"sha256": "ab" * 32}))
    assert defects(copy) == [Defect("figures", EVALUATION, "its figures are of another manifest.json")]


@pytest.mark.parametrize("command", ["check", "show"])
@pytest.mark.parametrize(
    "change", [*({"token": token} for token in ("<{x}>", "<{", "<>", "<{}{}>")), {"count": 10**15}]
)
def test_a_vocabulary_that_cannot_be_written_out_is_refused(
    copy: Path, command: str, change: Mapping[str, object]
) -> None:
    vocabulary = json.loads((copy / MANIFEST).read_text())["vocabulary"]
    next(block for block in vocabulary["blocks"] if block["kind"] == "codes").update(change)
    changed(copy, vocabulary=vocabulary)
    result = CliRunner().invoke(pack, [command, f"{copy}/"])
    assert isinstance(result.exception, Precondition)
    assert "manifest.json is malformed" in result.exception.message


def test_a_pack_without_a_licence_is_named(copy: Path) -> None:
    changed(copy, licence=" ")
    assert defects(copy) == [Defect("licences", MANIFEST, "the pack has no licence")]


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


def test_files_that_cannot_be_read_leave_every_other_rule_tried(copy: Path) -> None:
    for path in (TOKENIZER, UNITS, f"llm_adapter/{CONFIG}"):
        (copy / path).write_text("[")
        listed(copy, path)
    (copy / "vocoder" / WEIGHTS).write_bytes(b"\xff" * 64)
    changed(copy, licence="")
    result = CliRunner().invoke(pack, ["check", f"{copy}/"])
    assert result.exit_code == 1
    told = [line.split(":")[0].strip() for line in result.output.splitlines() if line.startswith("  ")]
    assert told == [
        f"vocoder/{WEIGHTS}", "tokenizer", "speech_units", MANIFEST, "llm_adapter", "vocoder", f"vocoder/{WEIGHTS}",
    ]  # fmt: skip


def test_a_pack_is_shown_with_its_vocabulary_its_modalities_and_its_licences() -> None:
    result = CliRunner().invoke(pack, ["show", "mini"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for words in ("57,388 rows", "49152", "signals of video", "llm_adapter", "Apache-2.0"):
        assert words in result.output


@pytest.mark.slow
def test_mini_goes_round_in_every_modality() -> None:
    result = CliRunner().invoke(pack, ["check", "mini"])
    assert result.output.count("holds") == 11, result.output
    assert result.exit_code == 0
