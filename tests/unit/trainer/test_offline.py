"""The command of a machine without a network: what it does before and after the stages."""

from __future__ import annotations

from pathlib import Path

import pytest

from anygpt.errors import InvalidInput
from services.trainer import bundle, delivery, offline


@pytest.mark.usefixtures("own_sigterm")
def test_data_that_a_kill_left_half_unpacked_or_of_another_bundle_are_unpacked_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked = list[Path]()

    def unpack(_bundle: Path, work: Path) -> None:
        (work / "data").mkdir(parents=True, exist_ok=True)
        (work / "data" / "stills.json").touch()
        unpacked.append(work)
        if len(unpacked) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(bundle, "unpack", unpack)
    monkeypatch.setattr(offline, "run_stages", lambda *_: None)
    monkeypatch.setattr(delivery, "deliver", lambda *_: [])
    packed = tmp_path / "mini.zip"
    packed.write_bytes(b"data")
    command = [f"{packed}", "out", "--work", f"{tmp_path / 'work'}", "--device", "cpu"]
    with pytest.raises(KeyboardInterrupt):
        offline.main(command)
    for _ in range(2):
        offline.main(command)
    assert len(unpacked) == 2
    packed.write_bytes(b"other data")
    for _ in range(2):
        offline.main(command)
    assert len(unpacked) == 3


@pytest.mark.usefixtures("own_sigterm")
def test_a_bundle_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"mini\.zip is no bundle"):
        offline.main([f"{tmp_path / 'mini.zip'}", "out", "--work", f"{tmp_path / 'work'}", "--device", "cpu"])


@pytest.mark.usefixtures("own_sigterm")
@pytest.mark.parametrize("part", ["0", "-0.5", "nan"])
def test_a_part_of_the_time_that_is_none_is_refused_before_anything_is_unpacked(
    tmp_path: Path, part: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        offline.main(["mini.zip", "out", f"--part={part}", "--work", f"{tmp_path / 'work'}"])
    assert caught.value.field == "--part"
    assert list(tmp_path.iterdir()) == []
