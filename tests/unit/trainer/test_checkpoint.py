from __future__ import annotations

import math
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from anygpt.errors import DataLoss, Exhausted, Precondition
from anygpt_models.part import CONFIG, WEIGHTS, is_kept
from anygpt_models.vocoder import Vocoder
from services.trainer import checkpoint
from services.trainer.checkpoint import Progress
from services.trainer.frozen import check_frozen, frozen_digest
from services.trainer.loop import Run, train
from services.trainer.recipe import Recipe

SAVE_FOR_EVER = """
import sys
import time
from pathlib import Path
from tests.unit.trainer.test_checkpoint import save_for_ever
save_for_ever(Path(sys.argv[1]))
"""


def run_of(width: int = 64) -> tuple[nn.Linear, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Linear(width, width)
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, width)).sum().backward()
    optimiser.step()
    return model, optimiser


def save_for_ever(path: Path) -> None:
    model, optimiser = run_of(512)
    step = 0
    while True:
        step += 1
        with torch.no_grad():
            model.weight.fill_(float(step))
        checkpoint.save(path, model, optimiser, Progress(step))


def test_a_kill_in_the_midst_of_saves_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", SAVE_FOR_EVER, str(path)], env=environment) as child:
        try:
            while not path.exists() or path.with_suffix(".unfinished").exists():
                assert child.poll() is None
                time.sleep(0.001)
        finally:
            child.send_signal(signal.SIGKILL)
    model, optimiser = run_of(512)
    progress = checkpoint.load(path, model, optimiser)
    assert torch.equal(model.weight, torch.full((512, 512), float(progress.step)))


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_whatever_moment_a_save_is_killed_at_the_last_checkpoint_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    model, optimiser = run_of()
    checkpoint.save(path, model, optimiser, Progress(1))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os if moment == "fsync" else Path, moment, killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(path, model, optimiser, Progress(2))
    assert checkpoint.load(path, *run_of()) == Progress(1)
    checkpoint.save(path, model, optimiser, Progress(3))
    assert checkpoint.load(path, *run_of()) == Progress(3)


def test_a_disk_that_fills_up_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    model, optimiser = run_of()
    checkpoint.save(path, model, optimiser, Progress(1, 2.0))
    size = path.stat().st_size
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limit[1]))
    try:
        with pytest.raises(Exhausted, match="the last one stays") as caught:
            checkpoint.save(path, model, optimiser, Progress(2, 3.0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    assert caught.value.reason == "CHECKPOINT_UNWRITTEN"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert checkpoint.load(path, *run_of()) == Progress(1, 2.0)


def test_a_checkpoint_of_another_vocabulary_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    rows = nn.Embedding(20, 4)
    checkpoint.save(path, rows, torch.optim.AdamW(rows.parameters()), Progress(3))
    other = nn.Embedding(24, 4)
    before = other.weight.detach().clone()
    with pytest.raises(Precondition, match=r"weight was \(20, 4\), is \(24, 4\)"):
        checkpoint.load(path, other, torch.optim.AdamW(other.parameters()))
    assert torch.equal(other.weight, before)


def test_a_frozen_weight_that_changes_ends_the_run_with_an_error(tmp_path: Path) -> None:
    frozen, free = nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 1)
    model = nn.Sequential(frozen, free)

    def step(number: int) -> Tensor:
        with torch.no_grad():
            frozen.weight[0, 0] += 1e-3 * (number == 2)
        return torch.as_tensor(model(torch.randn(8, 4)).square().mean())

    with pytest.raises(DataLoss, match="a weight that should be frozen was changed"):
        train(Run(tmp_path, steps=4), model, step)


def test_the_digest_of_frozen_weights_holds_while_the_others_learn() -> None:
    model = nn.Sequential(nn.Linear(2, 2).requires_grad_(False).bfloat16(), nn.Linear(2, 2))
    digest = frozen_digest(model)
    nn.init.zeros_(model[1].get_parameter("weight"))
    check_frozen(model, digest)
    assert frozen_digest(nn.Linear(2, 2)) == ""


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_run_that_diverges_ends_with_an_error_and_leaves_the_last_good_checkpoint(
    tmp_path: Path, wrong: float, is_stopped: bool
) -> None:
    model, run = nn.Linear(4, 1), Run(tmp_path / "image.codec" / "codec", steps=20, save_every=5)

    def step(number: int) -> Tensor:
        if is_stopped and number == 8:
            raise KeyboardInterrupt
        loss = model(torch.randn(8, 4)).square().mean()
        return torch.as_tensor(loss * wrong if number == 7 else loss)

    with pytest.raises(DataLoss, match=r"image\.codec/codec diverged by step (8|10),") as caught:
        train(run, model, step)
    assert caught.value.reason == "DIVERGED"
    kept = nn.Linear(4, 1)
    assert checkpoint.load(run.saved, kept, torch.optim.AdamW(kept.parameters())).step == 5
    assert kept.weight.isfinite().all()


def test_weights_beyond_half_precision_do_not_replace_those_of_the_pack(tmp_path: Path) -> None:
    recipe = Recipe(tmp_path, tmp_path / "pack", tmp_path / "runs", stage="audio.vocoder")
    part, kept = Vocoder(channels=8, blocks=1), recipe.pack / "vocoder" / WEIGHTS
    recipe.keep(part, "vocoder")
    before = kept.read_bytes()
    with torch.no_grad():
        next(part.parameters()).fill_(1e6)
    with pytest.raises(DataLoss, match=r"audio\.vocoder: .+ of vocoder is beyond half precision"):
        recipe.keep(part, "vocoder")
    assert kept.read_bytes() == before


def frozen_beside_free(seed: int) -> nn.Sequential:
    """Two layers, of which the first is frozen, and other for another seed."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 1))


def learned(run: Run, model: nn.Module) -> Progress:
    return train(run, model, lambda _: model(torch.randn(8, 4)).square().mean())


def test_a_run_does_not_go_on_with_other_frozen_weights(tmp_path: Path) -> None:
    learned(Run(tmp_path, steps=3), frozen_beside_free(0))
    other, saved = frozen_beside_free(1), Run(tmp_path, steps=6, resume=True)
    before = saved.saved.read_bytes()
    with pytest.raises(Precondition, match="what is frozen in it is not what it was at step 3") as caught:
        learned(saved, other)
    assert (caught.value.reason, saved.saved.read_bytes()) == ("CHECKPOINT_MISMATCH", before)
    kept = frozen_beside_free(0)
    kept[0].half().float()
    assert learned(saved, kept).step == 6


def test_a_run_that_is_done_stays_as_it_is_whatever_is_frozen_now(tmp_path: Path) -> None:
    learned(Run(tmp_path, steps=3), first := frozen_beside_free(0))
    done, other = Run(tmp_path, steps=3, resume=True), frozen_beside_free(1)
    before = done.saved.read_bytes()
    assert learned(done, other).step == 3
    assert torch.equal(other[1].get_parameter("weight"), first[1].get_parameter("weight"))
    assert done.saved.read_bytes() == before


@pytest.mark.parametrize("content", ["cut", "empty", "without facts", "with the facts of others"])
def test_a_file_that_is_no_whole_checkpoint_is_named(tmp_path: Path, content: str) -> None:
    run, model = Run(tmp_path / "image.codec" / "codec", steps=9, resume=True), nn.Linear(4, 1)
    learned(run, model)
    whole = run.saved.read_bytes()
    if content.startswith("with"):
        save_file({"a": torch.zeros(1)}, run.saved, {"progress": "[]"} if "others" in content else None)
    else:
        run.saved.write_bytes(whole[: len(whole) // 2] if content == "cut" else b"")
    with pytest.raises(DataLoss, match=r"codec/checkpoint\.safetensors is no whole checkpoint") as caught:
        learned(run, model)
    assert caught.value.field == "codec/checkpoint.safetensors"


def test_a_new_part_begins_the_same_every_time(tmp_path: Path) -> None:
    recipe = Recipe(tmp_path, tmp_path / "pack", tmp_path / "runs")
    torch.manual_seed(1)
    first, drawn = recipe.build(Vocoder, "vocoder", channels=8, blocks=1), torch.rand(1)
    second = recipe.build(Vocoder, "vocoder", channels=8, blocks=1)
    assert all(map(torch.equal, first.parameters(), second.parameters()))
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)


def test_a_full_disk_leaves_a_part_of_the_pack_as_it_was(tmp_path: Path) -> None:
    Vocoder(channels=8, blocks=1).save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(SafetensorError):
            Vocoder(channels=16, blocks=2).save_pretrained(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if not path.name.startswith(".tmp")}
    assert after == before


def test_a_kill_between_the_files_of_a_part_leaves_no_part_rather_than_half_of_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Vocoder(channels=8, blocks=1).save_pretrained(tmp_path)
    replace = Path.replace

    def killed(path: Path, target: Path) -> Path:
        if target.name == CONFIG:
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            Vocoder(channels=16, blocks=1).save_pretrained(tmp_path)
        assert not is_kept(tmp_path)
    Vocoder(channels=16, blocks=1).save_pretrained(tmp_path)
    assert Vocoder.open(tmp_path).setting("channels") == 16
