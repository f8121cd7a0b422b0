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
from anygpt.pack import Pack, open_pack, read_pack
from anygpt.topology import TEXT
from anygpt.v1 import anygpt_service_pb2, stages_pb2, types_pb2
from anygpt_models.part import CONFIG, WEIGHTS
from anygpt_models.published.drawing import audio_pipeline, image_pipeline, video_pipeline
from anygpt_models.published.music import MusicCodec
from anygpt_models.published.schedulers import SCHEDULERS
from anygpt_models.published.seeing import ClapHearing, ClipSight
from services.gateway.prompt import PromptWriter
from services.llm.answer import Answer
from services.llm.grammar import read_rules
from services.llm.tokeniser import Tokeniser
from services.trainer import pack_build
from services.trainer.pack_build import build
from services.trainer.pack_check import check
from services.trainer.pack_recipe import PackRecipe
from tests.published_pack import CLAP, FILMED, QUERIES, SEEN, SIDE, save_anygpt, save_clap, save_next_gpt

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


def tokeniser_of(pack: Pack) -> Tokeniser:
    return Tokeniser(pack.part("llm") / "tokenizer.json", pack.vocabulary.text_size)


def test_the_mark_of_next_gpt_ends_an_answer_by_whatever_tokens_it_is_written(next_gpt_pack: Pack) -> None:
    tokeniser = tokeniser_of(next_gpt_pack)
    rules = read_rules(next_gpt_pack, tokeniser)
    assert list(rules.stops) == tokeniser.encode("###")
    shown: list[stages_pb2.GenerateTokensResponse] = []
    answer = Answer(rules, tokeniser, (), shown.append, hears_text=True)
    *before, last = tokeniser.encode("Hello.\n###")
    assert last not in rules.stops
    assert [answer.show(token) for token in (*before, last)] == [*(False for _ in before), True]
    answer.finish(truncated=False)
    assert "".join(response.text.text for response in shown) == "Hello.\n"


def test_what_a_model_of_llama_s_reads_begins_as_it_was_taught(
    next_gpt_pack: Pack, anygpt_pack: Pack
) -> None:
    begin = tokeniser_of(next_gpt_pack).stop_id("<s>")
    mark = tokeniser_of(next_gpt_pack).stop_id("###")
    parts = [types_pb2.Part(modality=TEXT, text="Hello.")]
    request = anygpt_service_pb2.GenerateRequest(parts=parts)
    asked, *_ = PromptWriter(next_gpt_pack, 100).write(request, (), {}).segments
    assert list(asked.tokens.ids[:2]) == [begin, mark]
    told, *_ = PromptWriter(anygpt_pack, 100).write(request, (), {}).segments
    assert list(told.tokens.ids) == [begin]


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
        condition=torch.randn(1, QUERIES, FILMED), num_inference_steps=1, generator=generator()
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


@pytest.mark.parametrize(("fused", "samples"), [(True, 4800), (False, 20_000)])
def test_a_sound_has_the_same_features_in_any_company(
    next_gpt_pack: Pack, tmp_path: Path, fused: bool, samples: int
) -> None:
    folder = Path(shutil.copytree(next_gpt_pack.folder, tmp_path / "pack"))
    torch.manual_seed(0)
    save_clap(folder / "audio_encoder", fused=fused)
    hearing = ClapHearing(read_pack(f"{folder}/"), CPU)
    sounds = torch.randn(3, samples)
    alone = torch.cat([hearing.features(sound[None]) for sound in sounds])
    assert torch.allclose(hearing.features(sounds), alone, atol=1e-4)


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


def test_components_and_shards_that_are_absent_or_only_pickled_are_all_listed(
    anygpt: tuple[Path, PackRecipe], tmp_path: Path
) -> None:
    source = Path(shutil.copytree(anygpt[0], tmp_path / "source"))
    weights = source / "image_pipeline" / "unet" / WEIGHTS
    weights.rename(weights.with_suffix(".bin"))
    shutil.rmtree(source / "image_pipeline" / "vae")
    shards = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (source / "llm" / "model.safetensors.index.json").write_text(json.dumps(shards))
    refused(
        anygpt[1], source, "image_pipeline: unet: only pickled weights, save them as safetensors",
        "image_pipeline: vae: absent; AutoencoderKL is expected",
        "llm: model-00002-of-00002.safetensors is absent, which model.safetensors.index.json names",
    )  # fmt: skip


def resized(folder: Path, **settings: object) -> None:
    """Replace settings of a part or a component."""
    path = folder / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.mark.parametrize(
    ("folder", "setting", "told"),
    [
        ("image_pipeline/unet", "cross_attention_dim", "should be 32, is 48"),
        ("video_pipeline/unet", "cross_attention_dim", "should be 40, is 48"),
        ("audio_pipeline/unet", "projection_class_embeddings_input_dim", "should be 24, is 48"),
        ("audio_pipeline/vocoder", "sampling_rate", "should be 16000, is 48"),
        ("image_encoder", "projection_dim", "should be 32, is 48"),
        ("audio_encoder", "projection_dim", "should be 24, is 48"),
        ("audio_input_projection", "in_width", "should be 24, is 48"),
        ("audio_output_projection", "queries", "should be 1, is 48"),
    ],
)
def test_a_part_of_the_right_class_and_another_size_is_listed(
    next_gpt: tuple[Path, PackRecipe], tmp_path: Path, folder: str, setting: str, told: str
) -> None:
    source = Path(shutil.copytree(next_gpt[0], tmp_path / "source"))
    resized(source / folder, **{setting: 48})
    part, _, component = folder.partition("/")
    refused(next_gpt[1], source, f"{part}: {component and f'{component}/'}{setting} {told}")


OTHER_CODEC = {
    "sampling_rate": 24_000, "upsampling_ratios": [8, 5, 4, 2], "codebook_size": 1024, "target_bandwidths": [1.5, 24.0]
}  # fmt: skip
CODEC_TOLD = {
    "codebook_size should be 32, is 1024", "codebooks should be 4, is 32", "codes_per_second should be 200.0, is 2400",
    "sampling_rate should be 32000, is 24000",
}  # fmt: skip


def test_a_codec_whose_codes_are_not_those_of_the_vocabulary_is_listed(
    anygpt: tuple[Path, PackRecipe], tmp_path: Path
) -> None:
    source = Path(shutil.copytree(anygpt[0], tmp_path / "source"))
    resized(source / "audio_codec", **OTHER_CODEC)
    refused(anygpt[1], source, *(f"audio_codec: {told}" for told in CODEC_TOLD))


def test_parts_of_a_pack_that_do_not_fit_it_are_named(
    next_gpt_pack: Pack, anygpt_pack: Pack, tmp_path: Path
) -> None:
    drawn = Path(shutil.copytree(next_gpt_pack.folder, tmp_path / "drawn"))
    (drawn / "image_output_projection").rename(drawn / "swapped")
    (drawn / "video_output_projection").rename(drawn / "image_output_projection")
    (drawn / "swapped").rename(drawn / "video_output_projection")
    assert sizes_told(drawn) == {
        "image_output_projection: out_width should be 32, is 40",
        "video_output_projection: out_width should be 40, is 32",
    }
    played = Path(shutil.copytree(anygpt_pack.folder, tmp_path / "played"))
    resized(played / "audio_codec", **OTHER_CODEC)
    assert sizes_told(played) == {f"audio_codec: {told}" for told in CODEC_TOLD}


def sizes_told(folder: Path) -> set[str]:
    """What a check says of shapes and sizes."""
    defects = check(read_pack(f"{folder}/"))
    return {f"{defect.field}: {defect.message}" for defect in defects if defect.rule == "shapes"}


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


def test_a_pack_whose_build_was_killed_is_not_there_and_is_built_the_next_time(
    anygpt: tuple[Path, PackRecipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(pack_build, "write_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            build(anygpt[1], anygpt[0], out)
    assert not out.exists()
    (tmp_path / "out.unfinished" / "part of another recipe").mkdir()
    out.mkdir()
    manifest = build(anygpt[1], anygpt[0], out)
    assert {path.name for path in out.iterdir()} == {*manifest.parts, "manifest.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


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
