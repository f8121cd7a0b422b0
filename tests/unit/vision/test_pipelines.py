"""diffusers opens a pack as the folder of its pipelines, and schedulers are chosen as diffusers' users expect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import dynamic_modules_utils
from diffusers.utils import logging as told

from anygpt.errors import Precondition
from anygpt_models.audio_pipeline import AudioPipeline
from anygpt_models.image_codec import ImageCodec
from anygpt_models.image_pipeline import ImagePipeline
from anygpt_models.mask_scheduler import SCHEDULES, MaskScheduler
from anygpt_models.pipelines import PIPELINES
from anygpt_models.video_pipeline import VideoPipeline
from anygpt_models.vocoder import Vocoder
from tests.unit.vision.conftest import PACK


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Diffusers tells of each component that another pipeline of the folder takes."""
    told.set_verbosity_error()
    yield
    told.set_verbosity_warning()


@pytest.fixture(scope="module", params=PIPELINES)
def pipeline(request: pytest.FixtureRequest) -> Any:
    return request.param.assemble(PACK)


@pytest.mark.parametrize("kind", PIPELINES)
def test_each_pipeline_takes_its_own_components_from_the_pack(
    kind: type[ImagePipeline | VideoPipeline | AudioPipeline],
) -> None:
    opened = kind.from_pretrained(PACK)
    assert {name: type(one) for name, one in opened.components.items()} == kind.components_by_name()
    ours = kind.assemble(PACK)
    for name, component in opened.components.items():
        if isinstance(component, torch.nn.Module):
            kept, due = component.state_dict(), ours.components[name].state_dict()
            assert all(torch.equal(kept[key], due[key]) for key in due), name


@pytest.mark.parametrize("named", [{}, *({"custom_pipeline": kind.module_name()} for kind in PIPELINES)])
def test_diffusers_itself_opens_the_pack_and_makes_the_same(
    named: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamic_modules_utils, "HF_MODULES_CACHE", str(tmp_path))
    opened: Any = DiffusionPipeline.from_pretrained(PACK, trust_remote_code=True, **named)
    kind = next((kind for kind in PIPELINES if kind.module_name() in named.values()), ImagePipeline)
    assert type(opened) is kind
    both: list[Any] = [opened, kind.assemble(PACK)]
    made, due = (one(caption="a red apple", num_inference_steps=2).codes for one in both)
    assert torch.equal(made, due)


@pytest.mark.parametrize("kind", PIPELINES)
def test_each_pipeline_draws_in_half_precision(kind: Any) -> None:
    opened = kind.from_pretrained(PACK, dtype=torch.bfloat16)
    assert opened.dtype == torch.bfloat16
    made, codes = opened(caption="a red apple", num_inference_steps=2).values()
    assert len(made) == len(codes) == 1
    assert np.isfinite(made).all()
    assert made.std() > 0


def test_a_generator_alone_draws_as_a_list_of_one(pipeline: Any) -> None:
    alone, listed = (torch.Generator().manual_seed(3) for _ in range(2))
    due = pipeline(caption="a red apple", num_inference_steps=2, generator=[listed]).codes
    assert torch.equal(pipeline(caption="a red apple", num_inference_steps=2, generator=alone).codes, due)


def test_the_samples_of_a_batch_draw_from_one_generator_in_turn(images: ImagePipeline) -> None:
    vague = torch.randn(1, 8, 256, generator=torch.Generator().manual_seed(0)).expand(2, -1, -1)

    def drawn(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        codes: torch.Tensor = images(condition=vague, num_inference_steps=2, generator=generator).codes
        return codes

    first, second = drawn(5)
    assert not torch.equal(first, second)
    assert torch.equal(drawn(5), torch.stack([first, second]))
    assert not torch.equal(drawn(6)[0], first)


@pytest.mark.parametrize("steps", [0, -1])
def test_no_pipeline_draws_in_less_than_a_step(pipeline: Any, steps: int) -> None:
    with pytest.raises(ValueError, match="at least one step"):
        pipeline(caption="a red apple", num_inference_steps=steps)


@pytest.mark.parametrize("nothing", [{"caption": []}, {"condition": torch.zeros(0, 8, 256)}])
def test_an_empty_batch_is_refused(pipeline: Any, nothing: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        pipeline(**nothing)


def test_a_pipeline_that_was_saved_is_opened_again_by_its_class_and_by_diffusers(
    images: ImagePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamic_modules_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    images.save_pretrained(tmp_path)
    codes = torch.arange(32)[None]
    for kind, options in ((ImagePipeline, {}), (DiffusionPipeline, {"trust_remote_code": True})):
        again: Any = kind.from_pretrained(tmp_path, **options)
        assert type(again) is ImagePipeline
        assert np.array_equal(again(codes=codes).images, images(codes=codes).images)


def test_a_part_is_kept_and_opened_below_a_subfolder_and_has_no_variants(tmp_path: Path) -> None:
    part = Vocoder(channels=8, blocks=1)
    part.save_pretrained(tmp_path, subfolder="vocoder")
    again = Vocoder.from_pretrained(tmp_path, subfolder="vocoder", variant=None)
    assert all(map(torch.equal, again.parameters(), part.parameters()))
    with pytest.raises(ValueError, match="no variants, 'fp16' was asked for"):
        Vocoder.from_pretrained(tmp_path, subfolder="vocoder", variant="fp16")
    with pytest.raises(ValueError, match="no variants"):
        part.save_pretrained(tmp_path / "other", variant="fp16")
    assert [path.name for path in tmp_path.iterdir()] == ["vocoder"]


def test_a_part_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Precondition, match="no ImageCodec") as refused:
        ImageCodec.open(tmp_path / "image_codec")
    assert (refused.value.reason, refused.value.field) == ("PACK_PART_MISSING", "image_codec")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_uncovers_more_with_each_step_and_all_at_the_end(schedule: str) -> None:
    scheduler = MaskScheduler(schedule)
    left = [scheduler.masked(128, step, 16) for step in range(16)]
    assert left == sorted(left, reverse=True)
    assert (left[0] < 128, left[-1]) == (True, 0)
    assert scheduler.masked(32, 0, 1) == 0


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="cosine, linear, square, root"):
        MaskScheduler("quadratic")


def test_another_scheduler_draws_another_picture_and_leaves_the_pipeline_as_it_was(
    images: ImagePipeline,
) -> None:
    # A caption leaves nothing to choose: what is drawn of it is the same by every schedule.
    vague = torch.randn(8, 8, 256, generator=torch.Generator().manual_seed(0))

    def drawn(pipeline: ImagePipeline) -> torch.Tensor:
        codes: torch.Tensor = pipeline(condition=vague, num_inference_steps=4).codes
        return codes

    own = drawn(images)
    by_name = {name: drawn(images.with_scheduler(name)) for name in SCHEDULES}
    assert torch.equal(by_name["cosine"], own)
    assert not torch.equal(by_name["root"], own)
    assert torch.equal(drawn(images), own)
    swapped = ImagePipeline.assemble(PACK)
    swapped.scheduler = MaskScheduler.from_config(swapped.scheduler.config, schedule="root")
    assert torch.equal(drawn(swapped), by_name["root"])
