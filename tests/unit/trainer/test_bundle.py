from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from anygpt.errors import Exhausted, InvalidInput, Precondition
from anygpt.pack import MANIFEST
from anygpt_models.spectrogram import log_mel
from services.trainer import bundle, delivery
from services.trainer.data import audio, images
from services.trainer.data.compact import samples_as_bytes, samples_of_bytes
from services.trainer.data.speech import read_utterances
from services.trainer.speech_batches import load_spoken
from services.trainer.speech_config import VOICES
from tests.unit.trainer.tiny_data import write_tiny_data


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return write_tiny_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def bundled(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "mini.zip"
    assert bundle.pack(cache, path) == path.stat().st_size <= bundle.MOST_BYTES
    return path


@pytest.fixture(scope="module")
def again(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    unpacked = tmp_path_factory.mktemp("again")
    bundle.unpack(bundled, unpacked)
    return unpacked


def seen(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Pictures before black; what is transparent has no colour."""
    return pixels[..., :3] / 255 * (pixels[..., 3:] / 255)


def test_pictures_come_out_of_a_bundle_as_they_went_in(cache: Path, again: Path) -> None:
    before, after = images.pictures(cache), images.pictures(again)
    assert after.code_points == before.code_points
    error = seen(before.pixels[::9]) - seen(after.pixels[::9])
    assert -10 * np.log10(np.mean(error**2)) > 30


def test_clips_come_out_of_a_bundle_sounding_alike(cache: Path, again: Path) -> None:
    before, after = audio.clips(cache), audio.clips(again)
    assert after.index == before.index
    assert len(after.exact_rows) == bundle.EXACT_CLIPS
    row = after.exact_rows[3]
    wave, rebuilt = (clips.samples[row].astype(float) for clips in (before, after))
    assert 10 * np.log10(np.mean(wave**2) / np.mean((wave - rebuilt) ** 2)) > 25
    other = next(row for row in range(len(after.index)) if row not in after.exact_rows)
    mels = [log_mel(torch.as_tensor(clips.waveforms([other]))).clamp(min=-6) for clips in (before, after)]
    assert (mels[0] - mels[1]).abs().mean() < 0.6


def test_voices_come_out_of_a_bundle_with_their_words_times_and_mels(cache: Path, again: Path) -> None:
    before, after = (folder / "data" / "speech" / "train" for folder in (cache, again))
    for voice in VOICES:
        assert list(read_utterances(after / voice)) == list(read_utterances(before / voice))
    for level in (True, False):
        pairs = zip(load_spoken(before, VOICES, level), load_spoken(after, VOICES, level), strict=True)
        errors = [
            (one.mel.float().clamp(-6, 2) - two.mel.float().clamp(-6, 2)).abs().mean()
            for one, two in pairs if one.mel.shape == two.mel.shape
        ]  # fmt: skip
        assert len(errors) > 60
        assert torch.stack(errors).mean() < 0.25


def test_a_voice_that_has_said_much_sends_shards_from_all_over(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "MOST_SHARDS", 2)
    much = shutil.copytree(cache, tmp_path / "much")
    folder = much / "data" / "speech" / "train" / VOICES[0]
    rows = json.loads((folder / "000.json").read_text())
    for number in (1, 2, 3):
        named = [{**row, "text": f"{row['text']} {'again ' * number}".strip()} for row in rows]
        (folder / f"00{number}.json").write_text(json.dumps(named))
        shutil.copy(folder / "000.safetensors", folder / f"00{number}.safetensors")
    bundle.pack(much, tmp_path / "b.zip")
    bundle.unpack(tmp_path / "b.zip", tmp_path / "less")
    texts = [
        each.text for each in read_utterances(tmp_path / "less" / "data" / "speech" / "train" / VOICES[0])
    ]
    assert texts == [row["text"] for row in rows] + [f"{row['text']} again again" for row in rows]


def test_held_out_speech_stays_at_home(bundled: Path, again: Path) -> None:
    assert not (again / "data" / "speech" / "held_out").exists()
    with zipfile.ZipFile(bundled) as file:
        assert not any("held_out" in name for name in file.namelist())


def test_what_has_not_been_built_is_named_with_its_stage(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"image\.codec"):
        bundle.pack(tmp_path, tmp_path / "b.zip")


def test_a_bundle_that_is_too_big_to_travel_leaves_no_file(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "MOST_BYTES", 1000)
    with pytest.raises(Exhausted, match="can travel"):
        bundle.pack(cache, tmp_path / "b.zip")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no zip at all"])
def test_what_is_no_bundle_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b.zip").write_bytes(content)
    with pytest.raises(InvalidInput, match="no bundle"):
        bundle.unpack(tmp_path / "b.zip", tmp_path / "cache")


def test_a_bundle_with_a_damaged_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("chat.json", "[]", zipfile.ZIP_LZMA)
    settings = b"\x09\x04\x05\x00"
    path.write_bytes(path.read_bytes().replace(settings + b"\x5d", settings + b"\xff"))
    with pytest.raises(InvalidInput, match="no bundle"):
        bundle.unpack(path, tmp_path / "cache")


def test_samples_of_eight_bits_are_near_what_they_were() -> None:
    wave = np.round(8000 * np.sin(np.arange(16_000) / 7)).astype(np.int16)
    error = wave.astype(float) - samples_of_bytes(samples_as_bytes(wave))
    assert 10 * np.log10(np.mean(wave.astype(float) ** 2) / np.mean(error**2)) > 30


def made(folder: Path, size: int) -> tuple[Path, Path]:
    """A pack of incompressible weights, and the records of a run with a checkpoint."""
    pack, run = folder / "pack", folder / "runs" / "codec"
    (pack / "part").mkdir(parents=True)
    run.mkdir(parents=True)
    (pack / "part" / "weights.safetensors").write_bytes(np.random.default_rng(0).bytes(size))
    (run / "loss.csv").write_text("step,seconds,loss\n")
    (run / "checkpoint.safetensors").write_bytes(b"stays")
    return pack, run.parent


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of 100 KB can come back."""
    monkeypatch.setattr(delivery, "MOST_BYTES", 100_000)


@pytest.mark.usefixtures("small_files")
def test_a_delivery_is_cut_into_files_that_may_come_back_and_is_whole_again(tmp_path: Path) -> None:
    pack, runs = made(tmp_path, 150_000)
    files = delivery.deliver(pack, runs, tmp_path / "out")
    assert len(files) == 2
    assert all(path.stat().st_size <= delivery.MOST_BYTES for path in files)
    home = tmp_path / "home"
    delivery.receive(tmp_path / "out", home / "pack", home / "runs")
    part = Path("part") / "weights.safetensors"
    assert (home / "pack" / part).read_bytes() == (pack / part).read_bytes()
    assert [path.name for path in (home / "runs" / "codec").iterdir()] == ["loss.csv"]


@pytest.mark.usefixtures("small_files")
def test_a_delivery_that_lacks_a_file_is_refused(tmp_path: Path) -> None:
    pack, runs = made(tmp_path, 150_000)
    first, _ = delivery.deliver(pack, runs, tmp_path / "out")
    first.unlink()
    with pytest.raises(InvalidInput, match="no whole delivery"):
        delivery.receive(tmp_path / "out", tmp_path / "a", tmp_path / "b")


@pytest.mark.usefixtures("small_files")
def test_a_delivery_that_is_too_big_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Exhausted, match="can come back"):
        delivery.deliver(*made(tmp_path, 900_000), tmp_path / "out")


def files_of(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where there is a whole pack with a part that no delivery has."""
    pack = tmp_path / "home" / "pack"
    (pack / "image_layout").mkdir(parents=True)
    (pack / "image_layout" / "config.json").write_text("{}")
    (pack / MANIFEST).write_text("here")
    return pack.parent


def test_a_delivered_pack_replaces_the_one_at_home_with_all_its_parts(tmp_path: Path, home: Path) -> None:
    pack, runs = made(tmp_path, 1000)
    (pack / MANIFEST).write_text("delivered")
    delivery.deliver(pack, runs, tmp_path / "out")
    delivery.receive(tmp_path / "out", home / "pack", home / "runs")
    assert files_of(home / "pack") == files_of(pack)
    assert {path.name for path in home.iterdir()} == {"pack", "runs"}


def test_what_a_stopped_run_delivers_does_not_replace_a_whole_pack(tmp_path: Path, home: Path) -> None:
    before = files_of(home)
    delivery.deliver(*made(tmp_path, 1000), tmp_path / "out")
    with pytest.raises(Precondition, match="name another folder, or finish the run with --resume"):
        delivery.receive(tmp_path / "out", home / "pack", home / "runs")
    assert files_of(home) == before
    delivery.receive(tmp_path / "out", home / "other", home / "runs")
    delivery.receive(tmp_path / "out", home / "other", home / "runs")
    assert files_of(home / "other") == files_of(tmp_path / "pack")


@pytest.mark.parametrize("damage", [
    lambda data: data[: len(data) // 2], lambda data: data[:-1], lambda data: b"",
    lambda data: data[:500] + bytes(9) + data[509:],
])  # fmt: skip
def test_a_damaged_delivery_is_refused_and_changes_nothing(
    tmp_path: Path, home: Path, damage: Callable[[bytes], bytes]
) -> None:
    before = files_of(home)
    (file,) = delivery.deliver(*made(tmp_path, 1000), tmp_path / "out")
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InvalidInput, match="the delivery is broken"):
        delivery.receive(tmp_path / "out", home / "pack", home / "runs")
    assert files_of(home) == before


def test_a_delivery_that_can_not_be_written_leaves_the_pack_as_it_was(tmp_path: Path, home: Path) -> None:
    pack, runs = made(tmp_path, 1000)
    (pack / MANIFEST).write_text("delivered")
    delivery.deliver(pack, runs, tmp_path / "out")
    (home / "runs").write_text("no folder")
    before = files_of(home)
    with pytest.raises(OSError, match="runs"):
        delivery.receive(tmp_path / "out", home / "pack", home / "runs")
    assert files_of(home) == before


def test_a_bundle_says_where_its_sounds_come_from(bundled: Path) -> None:
    with zipfile.ZipFile(bundled) as file:
        assert json.loads(file.read("audio/clips.json"))["provenance"]
