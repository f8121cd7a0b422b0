"""The end of a recipe: parts become a pack, or it is told why not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from anygpt.errors import InvalidInput, Precondition
from anygpt.pack import MANIFEST, file_digest, read_pack
from anygpt_models.part import CONFIG, WEIGHTS
from services.trainer import commands, pack, pack_commands


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Every part that a pack by codes needs, with a file in each."""
    folder = tmp_path / "made"
    for part in pack.CODES.parts:
        (folder / part).mkdir(parents=True)
        (folder / part / "some.json").write_text("{}")
    return folder


def test_the_pack_that_is_shipped_has_every_part_that_a_pack_needs() -> None:
    assert set(read_pack("mini").manifest.parts) >= pack.SIGNALS.parts > pack.CODES.parts


def test_a_folder_with_all_parts_becomes_a_pack_and_it_is_told_how_to_serve_it(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack.tell(made, pack.finish(made, pack.CODES))
    assert set(read_pack(str(made)).manifest.parts) == pack.CODES.parts | {"scheduler"}
    assert capsys.readouterr().out.endswith(f" MiB in {made}: anygpt serve --pack {made}\n")


def test_a_pack_that_lacks_parts_is_not_made_and_they_are_named(made: Path) -> None:
    shutil.rmtree(made / "vocoder")
    (made / "image_codec" / "some.json").rename(made / "image_codec" / CONFIG)
    (made / "motion_codec" / "some.json").rename(made / "motion_codec" / WEIGHTS)
    with pytest.raises(Precondition, match=r"it lacks image_codec, motion_codec, vocoder$"):
        pack.finish(made, pack.CODES)
    assert not (made / MANIFEST).exists()


def test_of_a_folder_that_is_not_there_no_pack_is_made(tmp_path: Path) -> None:
    with pytest.raises(Precondition, match=r"it lacks audio_caption, .*, vocoder$"):
        pack_commands.build("mini", out=tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_what_a_kill_has_left_of_files_under_way_is_in_no_pack(made: Path) -> None:
    left = [made / "vocoder" / ".tmpAbC", made / "tokenizer" / "tokenizer.unfinished"]
    for path in left:
        path.write_bytes(b"half")
    files = pack.finish(made, pack.CODES).files
    assert not [path for path in left if path.exists() or path.relative_to(made).as_posix() in files]


def test_a_kill_leaves_the_manifest_that_was_there(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack.finish(made, pack.CODES)
    before = (made / MANIFEST).read_bytes()
    (made / "vocoder" / "some.json").write_text('{"new": true}')
    write_text = Path.write_text

    def killed(path: Path, text: str, **options: str) -> int:
        if path.name.startswith(MANIFEST):
            write_text(path, text[:10], **options)
            raise KeyboardInterrupt
        return write_text(path, text, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            pack.finish(made, pack.CODES)
    assert (made / MANIFEST).read_bytes() == before


def test_what_was_measured_of_other_weights_does_not_stay_beside_new_ones(made: Path) -> None:
    pack.finish(made, pack.CODES)
    (made / "EVAL.json").write_text(json.dumps({"sha256": file_digest(made / MANIFEST)}))
    (made / "EVAL.md").write_text("59 of 59")
    pack.finish(made, pack.CODES)
    assert (made / "EVAL.md").exists()
    (made / "vocoder" / "some.json").write_text('{"new": true}')
    pack.finish(made, pack.CODES)
    assert not list(made.glob("EVAL.*"))


def test_a_pack_of_what_was_trained_here_comes_from_nowhere_else(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        pack_commands.build("mini", source=tmp_path)
    assert caught.value.field == "--from"


def test_without_a_folder_a_pack_is_made_where_it_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list[Path]()
    monkeypatch.setattr(commands, "CACHE", tmp_path)
    monkeypatch.setattr(pack, "main", made.append)
    pack_commands.build("mini")
    assert made == [tmp_path / "packs" / "mini"]
