"""Pipelines take what diffusers' users pass, and refuse what they can not draw by."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from PIL.Image import Image

from anygpt_models.audio_pipeline import AudioPipeline
from anygpt_models.denoiser import Sampling
from anygpt_models.image_pipeline import ImagePipeline
from anygpt_models.mask_scheduler import MaskScheduler
from anygpt_models.video_pipeline import VideoPipeline
from tests.unit.vision.conftest import PACK

PIPELINES = (ImagePipeline, VideoPipeline, AudioPipeline)


@pytest.fixture(scope="module", params=PIPELINES)
def pipeline(request: pytest.FixtureRequest) -> Any:
    return request.param.assemble(PACK)


def vague(count: int) -> torch.Tensor:
    """Conditions that leave something to choose."""
    return torch.randn(1, 8, 256, generator=torch.Generator().manual_seed(0)).repeat(count, 1, 1)


def copies(pipeline: Any, count: int) -> dict[str, int]:
    """How often each is drawn, by the name that the pipeline gives it."""
    (name,) = (
        name for name in inspect.signature(pipeline.__call__).parameters if name.endswith("_per_prompt")
    )
    return {name: count}


def test_a_prompt_is_another_name_of_a_caption(pipeline: Any) -> None:
    told = pipeline(caption="a red apple", num_inference_steps=1).codes
    assert torch.equal(pipeline(prompt="a red apple", num_inference_steps=1).codes, told)


@pytest.mark.parametrize("other", [{"caption": "a dog"}, {"condition": torch.zeros(1, 8, 256)}])
def test_a_prompt_beside_another_source_is_refused(pipeline: Any, other: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="one of caption, prompt"):
        pipeline(prompt="a cat", **other)


def test_a_prompt_beside_codes_is_refused(images: ImagePipeline) -> None:
    with pytest.raises(ValueError, match="alone"):
        images(prompt="a cat", codes=torch.zeros(1, 32, dtype=torch.int64))


def test_each_condition_is_drawn_so_many_times_with_seeds_from_0(pipeline: Any) -> None:
    both = torch.cat([vague(1), -vague(1)])
    drawn = pipeline(condition=both, num_inference_steps=2, **copies(pipeline, 2)).codes
    written_out = both[[0, 0, 1, 1]]
    seeds = [torch.Generator().manual_seed(seed) for seed in range(4)]
    assert torch.equal(drawn, pipeline(condition=written_out, num_inference_steps=2, generator=seeds).codes)
    assert not torch.equal(drawn[0], drawn[1])


def test_each_caption_is_drawn_so_many_times_one_after_the_other(images: ImagePipeline) -> None:
    drawn = images(prompt=["a cat", "a dog"], num_inference_steps=1, num_images_per_prompt=2).codes
    written_out = ["a cat", "a cat", "a dog", "a dog"]
    assert torch.equal(drawn, images(prompt=written_out, num_inference_steps=1).codes)


def test_nothing_is_drawn_no_times_and_codes_are_decoded_once(pipeline: Any) -> None:
    with pytest.raises(ValueError, match="at least once"):
        pipeline(prompt="a cat", **copies(pipeline, 0))
    with pytest.raises(ValueError, match="alone"):
        pipeline(codes=torch.zeros(1, 32, dtype=torch.int64), **copies(pipeline, 2))


def test_the_output_comes_as_a_tuple_too(pipeline: Any) -> None:
    due = pipeline(prompt="a cat", num_inference_steps=1)
    made, codes = pipeline(prompt="a cat", num_inference_steps=1, return_dict=False)
    assert np.array_equal(made, next(iter(due.values())))
    assert torch.equal(codes, due.codes)


def test_pictures_come_as_those_of_pil(images: ImagePipeline) -> None:
    due = images(prompt=["a cat", "a dog"], num_inference_steps=1).images
    shown = images(prompt=["a cat", "a dog"], num_inference_steps=1, output_type="pil").images
    assert isinstance(shown, list)
    assert all(isinstance(one, Image) for one in shown)
    assert np.array_equal(np.stack(shown), due)


def test_frames_come_as_lists_of_those_of_pil(videos: VideoPipeline) -> None:
    ((first, *_),) = shown = videos(prompt="a cat rising", num_inference_steps=1, output_type="pil").frames
    assert isinstance(first, Image)
    assert np.array_equal(np.array(shown), videos(prompt="a cat rising", num_inference_steps=1).frames)


def test_an_output_type_that_there_is_not_is_refused_before_anything_is_drawn(pipeline: Any) -> None:
    told: list[int] = []
    with pytest.raises(ValueError, match="not 'pt'"):
        pipeline(prompt="a cat", output_type="pt", callback_on_step_end=lambda *_: told.append(1))
    assert not told


def test_sound_is_no_picture() -> None:
    sounds: Any = AudioPipeline.assemble(PACK)
    with pytest.raises(ValueError, match="np, not 'pil'"):
        sounds(prompt="happy organ music", output_type="pil")


@pytest.mark.parametrize("guidance", [float("nan"), float("inf"), -float("inf")])
def test_guidance_is_a_finite_number(guidance: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Sampling(guidance=guidance)


def test_guidance_that_is_no_number_is_refused_by_each_pipeline(pipeline: Any) -> None:
    with pytest.raises(ValueError, match="finite"):
        pipeline(prompt="a cat", guidance_scale=float("nan"))


def test_a_scheduler_of_noise_is_refused_by_its_name(pipeline: Any) -> None:
    own = pipeline.scheduler
    pipeline.scheduler = DDIMScheduler.from_config(own.config)
    try:
        with pytest.raises(TypeError, match="MaskScheduler, which DDIMScheduler is not"):
            pipeline(prompt="a cat")
    finally:
        pipeline.scheduler = own
    assert isinstance(pipeline.scheduler, MaskScheduler)


@pytest.mark.parametrize("kind", PIPELINES)
def test_a_condition_in_single_precision_is_taken_by_a_pipeline_in_half(kind: Any) -> None:
    half = kind.assemble(PACK).to(torch.bfloat16)
    made, codes = half(condition=vague(1), num_inference_steps=1).values()
    assert len(made) == len(codes) == 1
    assert np.isfinite(made).all()
