"""Training data that are not as they were built: each defect is told by file and place, before anything is learned."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from anygpt.errors import InvalidInput
from services.trainer.data import audio, chat, images
from services.trainer.data.speech import build_voice, read_utterances
from services.trainer.data.stored import made_once, records, write_records
from services.trainer.speech_batches import load_spoken
from services.trainer.speech_config import VOICES
from tests.unit.trainer.tiny_data import Buzz, spelled, write_tiny_data

CLIPS, STILLS = "audio/clips.json", "stills.json"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_data(tmp_path_factory.mktemp("built") / "cache")


@pytest.fixture
def cache(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "cache"))


def read_all(cache: Path) -> None:
    audio.clips(cache)
    audio.exercises(cache)
    images.pictures(cache)
    load_spoken(cache / "data" / "speech" / "train", VOICES, level=True)
    chat.exchanges(cache, answer=lambda asked: pytest.fail(f"asked {asked}"))


def refused(cache: Path, reason: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        read_all(cache)
    assert caught.value.reason == reason
    return str(caught.value)


def changed(path: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def shard(cache: Path) -> Path:
    return cache / "data" / "speech" / "train" / VOICES[0] / "000.json"


def test_data_as_they_were_built_are_read(cache: Path) -> None:
    read_all(cache)


@pytest.mark.parametrize("name", ["audio/clips.npy", "audio/exercises.npy", "stills.npy"])
def test_a_missing_file_is_named(cache: Path, name: str) -> None:
    (cache / "data" / name).unlink()
    assert refused(cache, "DATA_MISSING") == f"{Path(name).name} is missing"


def test_a_shard_without_its_sound_is_named(cache: Path) -> None:
    shard(cache).with_suffix(".safetensors").unlink()
    assert refused(cache, "DATA_MISSING") == "000.safetensors is missing"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda clip: clip.pop("mood"), "clips.json: clips.3.mood: Field required"),
        (lambda clip: clip.update(tempo="fast"), "clips.json: clips.3.tempo: "),
        (lambda clip: clip.update(variation="2"), "clips.json: clips.3.variation: "),
        (lambda clip: clip.update(held_out=1), "clips.json: clips.3.held_out: "),
    ],
    ids=["without a key", "with another key", "words for a number", "a number for yes or no"],
)
def test_a_record_out_of_form_is_named_by_its_place(
    cache: Path, change: Callable[[dict[str, Any]], None], what: str
) -> None:
    changed(cache / "data" / CLIPS, lambda document: change(document["clips"][3]))
    assert refused(cache, "DATA_MALFORMED").startswith(what)


@pytest.mark.parametrize("name", [CLIPS, STILLS, "chat.json"])
def test_a_file_that_ends_in_its_midst_is_named(cache: Path, name: str) -> None:
    path = cache / "data" / name
    path.write_bytes(path.read_bytes()[:-9])
    assert refused(cache, "DATA_MALFORMED").startswith(f"{path.name}: Invalid JSON")


def test_an_array_that_ends_in_its_midst_is_named(cache: Path) -> None:
    path = cache / "data" / "stills.npy"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refused(cache, "DATA_MALFORMED").startswith("stills.npy: ")


def test_pictures_and_their_names_have_to_be_as_many(cache: Path) -> None:
    changed(cache / "data" / STILLS, list.pop)
    assert refused(cache, "DATA_MALFORMED").startswith("stills.npy: uint8[")


def test_a_pickle_is_no_array(cache: Path) -> None:
    np.save(cache / "data" / "stills.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert refused(cache, "DATA_MALFORMED").startswith("stills.npy: ")


def test_sound_that_is_too_short_for_its_texts_is_named(cache: Path) -> None:
    path = shard(cache).with_suffix(".safetensors")
    save_file({"waveform": load_file(path)["waveform"][:-100]}, path)
    assert refused(cache, "DATA_MALFORMED").startswith("000.safetensors: ")


@pytest.mark.parametrize(
    "change", [lambda samples: samples.astype(np.float32), lambda samples: samples[:, None]]
)
def test_sound_in_another_form_is_named(
    cache: Path, change: Callable[[NDArray[np.int16]], NDArray[Any]]
) -> None:
    path = shard(cache).with_suffix(".safetensors")
    save_file({"waveform": change(load_file(path)["waveform"])}, path)
    assert refused(cache, "DATA_MALFORMED").startswith("000.safetensors: ")


def test_each_sound_of_a_sentence_has_its_seconds(cache: Path) -> None:
    changed(shard(cache), lambda rows: rows[1]["symbols"].pop())
    assert refused(cache, "DATA_MALFORMED").endswith(".json: 1: Value error, each symbol has its seconds")


@pytest.mark.parametrize("content", [b"PK\3\4", b"", b"PK\5\6" + bytes(18)])
def test_an_archive_or_nothing_is_no_array(cache: Path, content: bytes) -> None:
    (cache / "data" / "stills.npy").write_bytes(content)
    assert refused(cache, "DATA_MALFORMED").startswith("stills.npy: ")


def test_a_recording_in_both_splits_is_refused(cache: Path) -> None:
    changed(
        cache / "data" / CLIPS,
        lambda document: document["clips"][1].update(variation=0),
    )
    assert refused(cache, "DATA_SPLIT") == "clips.json: variation 0 of 'happy piano music' is there twice"


@pytest.mark.parametrize("held_out", [True, False])
def test_a_piece_needs_recordings_in_both_splits(cache: Path, held_out: bool) -> None:
    def change(document: dict[str, Any]) -> None:
        for clip in document["clips"][:2]:
            clip["held_out"] = held_out

    changed(cache / "data" / CLIPS, change)
    assert refused(cache, "DATA_SPLIT") == "clips.json: of 'happy piano music' all is held out, or nothing"


def test_a_sentence_that_is_held_out_is_not_trained_on(cache: Path) -> None:
    held_out = json.loads(next((cache / "data/speech/held_out" / VOICES[1]).glob("[0-9]*.json")).read_text())
    changed(shard(cache), lambda rows: rows[0].update(text=held_out[0]["text"]))
    what = f"{VOICES[0]}: {held_out[0]['text']!r} is trained on and held out"
    assert refused(cache, "DATA_SPLIT") == what


def test_what_can_not_be_written_leaves_the_last_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    write_records(path, ["first"])
    with pytest.raises(TypeError):
        write_records(path, [object()])
    assert records(path, list[str]) == ["first"]
    assert list(tmp_path.iterdir()) == [path]


def test_of_two_that_need_data_at_once_one_builds_them_and_the_other_finds_them(tmp_path: Path) -> None:
    built = list[str]()

    def asked(name: str) -> Any:
        def make() -> list[str]:
            built.append(name)
            time.sleep(0.3)
            return [name]

        return made_once(tmp_path / "data" / "some.json", list[str], make)

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(asked, ("one", "other")))
    assert len(built) == 1
    assert found == [built, built]


def test_of_two_that_need_a_voice_at_once_one_lets_it_speak(tmp_path: Path) -> None:
    said = list[str]()

    class Slow(Buzz):
        def speak(self, phonemes: str, seed: int) -> tuple[NDArray[np.float32], list[float]]:
            said.append(phonemes)
            time.sleep(0.2)
            return super().speak(phonemes, seed)

    sentences = ["one word", "two words"]
    with ThreadPoolExecutor(2) as pool:
        for done in [
            pool.submit(build_voice, Slow("hum", 110.0), sentences, tmp_path, spelled) for _ in range(2)
        ]:
            done.result()
    assert len(said) == len(sentences)
    assert [each.text for each in read_utterances(tmp_path)] == sentences
