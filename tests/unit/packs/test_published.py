from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from anygpt.errors import Precondition
from anygpt.pack import Pack, open_pack
from anygpt_models.published.drawing import audio_pipeline, image_pipeline, video_pipeline
from anygpt_models.published.music import MusicCodec
from anygpt_models.published.schedulers import SCHEDULERS
from anygpt_models.published.seeing import ClapHearing, ClipSight
from services.trainer.pack_build import build
from services.trainer.pack_check import check
from services.trainer.pack_recipe import PackRecipe
from tests.published_pack import CLAP, QUERIES, SEEN, SIDE, save_anygpt, save_next_gpt

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def next_gpt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PackRecipe]:
    """The folder of NExT-GPT's parts, and its recipe."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("nextgpt")
    return folder, save_next_gpt(folder)


@pytest.fixture(scope="session")
def anygpt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PackRecipe]:
    """The folder of AnyGPT's parts, and its recipe."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("anygpt")
    return folder, save_anygpt(folder)


@pytest.fixture(scope="session")
def next_gpt_pack(next_gpt: tuple[Path, PackRecipe], tmp_path_factory: pytest.TempPathFactory) -> Pack:
    out = tmp_path_factory.mktemp("packs") / "nextgpt"
    build(next_gpt[1], next_gpt[0], out)
    return open_pack(str(out))


@pytest.fixture(scope="session")
def anygpt_pack(anygpt: tuple[Path, PackRecipe], tmp_path_factory: pytest.TempPathFactory) -> Pack:
    out = tmp_path_factory.mktemp("packs") / "anygpt"
    build(anygpt[1], anygpt[0], out)
    return open_pack(str(out))


def generator() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(3)]


def test_the_packs_that_are_built_break_no_rule(next_gpt_pack: Pack, anygpt_pack: Pack) -> None:
    assert check(next_gpt_pack) == []
    assert check(anygpt_pack) == []


def test_stable_diffusion_draws_from_a_caption_and_from_a_condition_and_tells_its_steps(
    next_gpt_pack: Pack,
) -> None:
    draw, _ = image_pipeline(next_gpt_pack, CPU)
    steps: list[tuple[int, int]] = []

    def report(_: object, step: int, left: int, values: dict[str, object]) -> dict[str, object]:
        steps.append((step, left))
        return values

    named = draw(caption=["a cat"], num_inference_steps=2, generator=generator(), callback_on_step_end=report)
    assert named.images.shape == (1, SIDE, SIDE, 3)
    assert named.images.dtype == np.uint8
    assert steps == [(0, 1), (1, 0)]
    told = draw(condition=torch.randn(1, QUERIES, SEEN), num_inference_steps=2, generator=generator())
    again = draw(condition=torch.randn(1, QUERIES, SEEN), num_inference_steps=2, generator=generator())
    assert told.images.shape == (1, SIDE, SIDE, 3)
    assert not np.array_equal(told.images, again.images)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of diffusers
@pytest.mark.parametrize("name", ["", *SCHEDULERS])
def test_drawings_that_take_turns_are_as_they_would_be_alone(next_gpt_pack: Pack, name: str) -> None:
    draw, _ = image_pipeline(next_gpt_pack, CPU)

    def drawn(guidance: float, between: Callable[[], object]) -> NDArray[np.uint8]:
        def report(_: object, step: int, left: int, values: dict[str, object]) -> dict[str, object]:
            between()
            return values

        made: NDArray[np.uint8] = draw.with_scheduler(name)(
            caption=["a cat"], num_inference_steps=3, guidance_scale=guidance, generator=generator(),
            callback_on_step_end=report,
        ).images  # fmt: skip
        return made

    def nothing() -> None: ...

    alone = drawn(7.5, nothing)
    beside = drawn(7.5, lambda: drawn(2.0, nothing))
    assert np.array_equal(beside, alone)
    assert not np.array_equal(drawn(2.0, nothing), alone)
    one = draw.with_scheduler(name)(caption=["a cat"], num_inference_steps=1, generator=generator())
    assert one.images.shape == alone.shape


def test_text_to_video_and_audioldm_follow_a_condition(next_gpt_pack: Pack) -> None:
    film, _ = video_pipeline(next_gpt_pack, CPU)
    frames = film(
        condition=torch.randn(1, QUERIES, SEEN), num_inference_steps=1, generator=generator()
    ).frames
    assert frames.shape == (1, 2, SIDE, SIDE, 3)
    compose, _ = audio_pipeline(next_gpt_pack, CPU)
    sound = compose(condition=torch.randn(1, 1, CLAP), num_inference_steps=1, generator=generator()).audios
    assert sound.shape == (1, 3200)


def test_clip_and_clap_give_vectors_of_unit_length(next_gpt_pack: Pack) -> None:
    sight = ClipSight(next_gpt_pack, CPU)
    pictures = np.zeros((2, sight.size, sight.size, 3), dtype=np.uint8)
    assert sight.features(pictures).norm(dim=-1) == pytest.approx(torch.ones(2, 1), abs=1e-5)
    assert sight.film_features(pictures[None].repeat(6, 1)).shape == (1, 1, SEEN)
    hearing = ClapHearing(next_gpt_pack, CPU)
    assert hearing.features(torch.randn(2, 4800)).shape == (2, 1, CLAP)


def test_unclip_draws_from_32_codes(anygpt_pack: Pack) -> None:
    draw, space = image_pipeline(anygpt_pack, CPU)
    assert (space.size, space.length) == (64, 32)
    made = draw(codes=torch.arange(32)[None], num_inference_steps=1, generator=generator())
    assert made.images.shape == (1, SIDE, SIDE, 3)


def test_music_goes_to_codes_whose_layers_take_turns_and_back(anygpt_pack: Pack) -> None:
    codec = MusicCodec(anygpt_pack, CPU)
    codes = codec.encode(torch.randn(1, 800) * 0.1)
    assert (codes.shape[1] % codec.layers, codec.size) == (0, 32)
    assert torch.equal(codes[0] // codec.size, torch.arange(codes.shape[1]) % codec.layers)
    assert codec.decode(codes).shape[1] >= 784


def test_what_is_absent_or_wrong_is_listed_before_anything_is_copied(
    next_gpt: tuple[Path, PackRecipe], tmp_path: Path
) -> None:
    source, recipe = next_gpt
    partial = tmp_path / "partial"
    shutil.copytree(source / "llm", partial / "llm")
    shutil.copytree(source / "image_encoder", partial / "audio_encoder")
    with pytest.raises(Precondition) as caught:
        build(recipe, partial, tmp_path / "out")
    told = caught.value.message
    assert "image_pipeline: absent; a folder of class StableDiffusionPipeline is expected" in told
    assert "audio_encoder: should be a ClapAudioModelWithProjection, is CLIPVisionModelWithProjection" in told
    assert not (tmp_path / "out").exists()


LANGUAGE, PIPELINE = "llm/config.json", "image_pipeline/model_index.json"


@pytest.mark.parametrize(
    ("path", "content", "told"),
    [
        (LANGUAGE, b"{", "llm: llm/config.json is malformed"),
        (LANGUAGE, b"[]", "llm: llm/config.json is malformed: it is no JSON object"),
        (PIPELINE, b"\xff", "image_pipeline: image_pipeline/model_index.json is malformed"),
        ("llm/model.safetensors", b"\xff" * 64, "llm: model.safetensors is no safetensors"),
        ("llm/model.safetensors", b"version https://git-lfs", "llm: model.safetensors is no safetensors"),
        ("llm/model.safetensors", b"\x80\x04.", "llm: model.safetensors is no safetensors"),
    ],
)
def test_a_malformed_source_is_listed_beside_what_is_absent(
    anygpt: tuple[Path, PackRecipe], tmp_path: Path, path: str, content: bytes, told: str
) -> None:
    source = Path(shutil.copytree(anygpt[0], tmp_path / "source"))
    (source / path).write_bytes(content)
    shutil.rmtree(source / "audio_codec")
    refused(anygpt[1], source, told, "audio_codec: absent")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"vocab_size": None}, "rows are needed, it has None"),
        ({"vocab_size": "32000"}, "rows are needed, it has 32000"),
        ({"architectures": 5}, "llm: should be a LlamaForCausalLM, is no saved model"),
    ],
)
def test_settings_of_another_type_are_listed(
    anygpt: tuple[Path, PackRecipe], tmp_path: Path, settings: Mapping[str, object], told: str
) -> None:
    source = Path(shutil.copytree(anygpt[0], tmp_path / "source"))
    (source / LANGUAGE).write_text(json.dumps(json.loads((source / LANGUAGE).read_text()) | settings))
    refused(anygpt[1], source, told)


def test_weights_that_are_cut_off_are_listed(anygpt: tuple[Path, PackRecipe], tmp_path: Path) -> None:
    source = Path(shutil.copytree(anygpt[0], tmp_path / "source"))
    path = source / "image_pipeline" / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    refused(anygpt[1], source, "image_pipeline: unet/diffusion_pytorch_model.safetensors is no safetensors")


def test_a_source_with_a_folder_that_is_a_link_is_listed(
    anygpt: tuple[Path, PackRecipe], tmp_path: Path
) -> None:
    source = Path(shutil.copytree(anygpt[0], tmp_path / "source"))
    (source / "image_pipeline" / "more").symlink_to(source / "llm")
    refused(anygpt[1], source, "image_pipeline: more is a link, and to no file")


def refused(recipe: PackRecipe, source: Path, *told: str) -> None:
    """The build tells all of it, and writes nothing."""
    out = source.parent / "out"
    with pytest.raises(Precondition) as caught:
        build(recipe, source, out)
    assert all(line in caught.value.message for line in told)
    assert not out.exists()


def test_a_pack_is_built_where_nothing_is(anygpt: tuple[Path, PackRecipe], tmp_path: Path) -> None:
    (tmp_path / "old.pt").write_bytes(b"\x80\x04.")
    with pytest.raises(Precondition, match="is not empty"):
        build(anygpt[1], anygpt[0], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["old.pt"]


def test_a_part_may_have_a_manifest_of_its_own(anygpt: tuple[Path, PackRecipe], tmp_path: Path) -> None:
    source = Path(shutil.copytree(anygpt[0], tmp_path / "source"))
    (source / "llm" / "manifest.json").write_text("{}")
    assert "llm/manifest.json" in build(anygpt[1], source, tmp_path / "out").files


def test_a_language_model_of_other_sizes_is_refused(anygpt: tuple[Path, PackRecipe], tmp_path: Path) -> None:
    from services.trainer.published import ANYGPT_7B

    with pytest.raises(Precondition, match="llm: 49420 rows are needed"):
        build(ANYGPT_7B, anygpt[0], tmp_path / "out")


def test_a_pickle_in_a_pipeline_is_left_out_and_never_read(
    anygpt: tuple[Path, PackRecipe], tmp_path: Path
) -> None:
    source = Path(shutil.copytree(anygpt[0], tmp_path / "source"))
    (source / "image_pipeline" / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04.")
    manifest = build(anygpt[1], source, tmp_path / "out")
    assert not [path for path in manifest.files if path.endswith(".bin")]
    (tmp_path / "out" / "image_pipeline" / "unet" / "more.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(Precondition, match="holds a pickle"):
        image_pipeline(open_pack(str(tmp_path / "out")), CPU)


def test_a_pickle_behind_a_link_in_a_pipeline_is_never_read(
    anygpt: tuple[Path, PackRecipe], tmp_path: Path
) -> None:
    build(anygpt[1], anygpt[0], tmp_path / "out")
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "weights.bin").write_bytes(b"\x80\x04.")
    (tmp_path / "out" / "image_pipeline" / "more").symlink_to(tmp_path / "hidden")
    with pytest.raises(Precondition, match="holds a link, more"):
        image_pipeline(open_pack(str(tmp_path / "out")), CPU)
