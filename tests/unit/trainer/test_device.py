from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from anygpt.errors import InvalidInput
from anygpt_models.part import WEIGHTS
from services.trainer import alignment_setup, device
from services.trainer import base_model as base
from services.trainer.device import device_of, here
from services.trainer.mini import all_stages, stages
from services.trainer.recipe import Recipe
from services.trainer.sheet import SAMPLES
from tests.unit.trainer.rehearsal import AMOUNTS
from tests.unit.trainer.second_device import ELSEWHERE, SecondDevice, carry
from tests.unit.trainer.tiny_data import write_tiny_data

TRAINER = Path(device.__file__).parent
NAMES_DEVICES = {"device.py", "commands.py", "judge_speech.py"}
"""`commands.py` offers them; the last one runs a judge of another library, which is never trained."""
WALKED = [
    name for name in stages() if name.split(".")[0] not in ("alignment", "pack")
    and name not in ("speech.data", "speech.judge", "audio.judge")
]  # fmt: skip
BEFORE_ALIGNMENT = [
    "image.codec", "image.recogniser", "video.codec", "video.recogniser", "audio.vocoder", "audio.content",
    "audio.recogniser", "speech.units", "speech.language", "speech.recogniser", "speech.pronouncer",
    "speech.synthesiser",
]  # fmt: skip


def named_devices(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and node.value in ("cpu", "cuda"):
            yield f"{path.name}:{node.lineno} names {node.value!r}"
        if isinstance(node, ast.Attribute) and node.attr in ("from_numpy", "cuda", "get_rng_state"):
            yield f"{path.name}:{node.lineno} calls {node.attr}"


def module_tensors(path: Path) -> Iterator[str]:
    """Tensors that an import makes lie on no device that anyone chose."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        made = ast.walk(node) if isinstance(node, ast.Assign | ast.AnnAssign) else ()
        yield from (f"{path.name}:{node.lineno}" for part in made if _is_torch_call(part))


def _is_torch_call(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name) and node.func.value.id == "torch"
    )  # fmt: skip


def trainer_files() -> list[Path]:
    return [
        path for path in sorted(TRAINER.rglob("*.py"))
        if path.name not in NAMES_DEVICES and "evaluation" not in path.parts
    ]  # fmt: skip


def test_no_file_of_the_trainer_but_one_names_a_device() -> None:
    assert [found for path in trainer_files() for found in named_devices(path)] == []


def test_no_tensor_is_made_by_an_import() -> None:
    assert [found for path in trainer_files() for found in module_tensors(path)] == []


def test_a_device_that_is_not_here_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no device 'tpu' here"):
        device_of("tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_cuda_is_refused_where_there_is_none() -> None:
    with pytest.raises(InvalidInput, match="no device 'cuda' here"):
        device_of("cuda")


def test_the_second_device_refuses_what_a_real_one_refuses() -> None:
    with SecondDevice(), ELSEWHERE:
        away, home = torch.ones(2), torch.ones(2, device="cpu")
        assert away.device == here() == ELSEWHERE
        assert (away + 1).view(2, 1).device == torch.nn.Parameter(away).device == ELSEWHERE
        assert (away.cpu() + home).device == home.device
        with pytest.raises(RuntimeError, match="tensors on"):
            away + home
        with pytest.raises(TypeError, match="array"):
            away.numpy()


@pytest.fixture
def second_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[SecondDevice]:
    """In force as the accelerator would be; its generators are the processors' own."""
    generator = torch.Generator
    monkeypatch.setattr(torch, "Generator", lambda *_: generator())
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda *_: torch.default_generator.get_state())
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, *_: torch.default_generator.set_state(state)
    )
    with SecondDevice() as mode, ELSEWHERE:
        yield mode


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_every_stage_keeps_to_the_device_in_force(tmp_path: Path, second_device: SecondDevice) -> None:
    cache, known = write_tiny_data(tmp_path / "cache"), stages()
    recipe = Recipe(
        cache, tmp_path / "pack", tmp_path / "runs", steps=2, options={"sample_every": 1, "save_every": 1}
    )
    for name in WALKED:
        known[name](recipe)
    assert len(list((tmp_path / "pack").iterdir())) > 15
    assert without_samples(recipe.runs) == set()


def without_samples(runs: Path) -> set[str]:
    """Runs that show nothing of what they learned."""
    return {run.name for run in runs.iterdir() if not (run / SAMPLES).exists()}


@pytest.fixture
def base_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The base model, loaded before the second device is in force: the library that loads it asks a real one."""
    # Nothing computes in mixed precision where no accelerator is.
    monkeypatch.setattr(base, "multiplies_bf16", lambda _: False)
    model, tokenizer = base.base_model()

    def carried() -> tuple[Any, Any]:
        carry(model)
        return model, tokenizer

    monkeypatch.setattr(alignment_setup, "base_model", carried)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore:CUDA is not available")
@pytest.mark.usefixtures("base_elsewhere", "second_device")
def test_every_stage_of_alignment_keeps_to_the_device_in_force(tmp_path: Path) -> None:
    cache, known = write_tiny_data(tmp_path / "cache"), all_stages()
    recipe = Recipe(cache, tmp_path / "pack", tmp_path / "runs", steps=2, options={"save_every": 1})
    for name in BEFORE_ALIGNMENT:
        known[name](recipe)
    for name, amounts in AMOUNTS.items():
        if name.startswith("alignment."):
            known[name](replace(recipe, amounts=amounts))
    for pack in ("pack", "pack-codes"):
        assert (tmp_path / pack / "llm_adapter" / WEIGHTS).exists()
