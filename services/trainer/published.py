"""The two published systems as recipes of packs, at their own sizes: NExT-GPT (2309.05519), AnyGPT (2402.12226)."""

from __future__ import annotations

from anygpt.pack import InputEntry, ModalityEntry, OutputEntry, SamplingEntry
from anygpt_models.published.schedulers import SCHEDULERS
from services.trainer import papers
from services.trainer.pack_recipe import Ingredient, LanguageSizes, PackRecipe, Tuning

SEVEN_BILLION = LanguageSizes(
    hidden=4096,
    layers=32,
    heads=32,
    key_heads=32,
    feed_forward=11_008,
    context=2048,
    rows=papers.LLAMA_TEXT_SIZE,
)
SOUNDS = ("wav", "flac", "ogg", "mp3")
PICTURES, CLIPS = ("png", "jpeg", "webp"), ("mp4", "webm", "gif")

_NEXT_GPT_OWN = Ingredient("", "CC-BY-NC-SA-4.0", "NExT-GPT's own training (arXiv 2309.05519)", trained=True)
_INTO, _OUT_OF = (
    Ingredient(kind, _NEXT_GPT_OWN.licence, _NEXT_GPT_OWN.provenance, trained=True)
    for kind in ("InputProjection", "OutputProjection")
)

NEXTGPT_7B = PackRecipe(
    name="nextgpt-7b",
    licence="CC-BY-NC-SA-4.0",
    language=SEVEN_BILLION,
    vocabulary=papers.NEXT_GPT,
    prompt=papers.NEXT_GPT_PROMPT,
    modalities={
        "text": ModalityEntry(
            input=InputEntry(path="tokens"),
            output=OutputEntry(
                path="tokens", streams=True, sampling=SamplingEntry(temperature=0.4, top_p=1.0, max_tokens=246)
            ),
        ),
        "image": ModalityEntry(
            input=InputEntry(path="features", length=1, width=1024),
            output=OutputEntry(
                path="signals", min_count=4, max_count=4, width=512, height=512, steps=50, guidance=7.5,
                schedulers=tuple(SCHEDULERS), formats=PICTURES, sampling=SamplingEntry(max_tokens=16),
            ),
        ),
        "video": ModalityEntry(
            input=InputEntry(path="features", length=1, width=1024, max_duration_s=10.0),
            output=OutputEntry(
                path="signals", min_count=24, max_count=24, width=576, height=320, frame_rate=8.0, duration_s=3.0,
                steps=50, guidance=7.5, schedulers=tuple(SCHEDULERS), formats=CLIPS,
                sampling=SamplingEntry(max_tokens=48),
            ),
        ),
        "audio": ModalityEntry(
            input=InputEntry(path="features", length=1, width=512, max_duration_s=10.0),
            output=OutputEntry(
                path="signals", min_count=8, max_count=8, sample_rate=16_000, duration_s=5.0, steps=50, guidance=7.5,
                schedulers=tuple(SCHEDULERS), formats=SOUNDS, sampling=SamplingEntry(max_tokens=32),
            ),
        ),
    },
    parts={
        "llm": Ingredient("LlamaForCausalLM", "Llama licence, non-commercial", "Vicuna-7B v0 (LMSYS)"),
        "llm_adapter": Ingredient("LanguageAdapter", _INTO.licence, _INTO.provenance, trained=True),
        "image_encoder": Ingredient("CLIPVisionModelWithProjection", "MIT", "OpenCLIP ViT-H/14 (LAION)"),
        "audio_encoder": Ingredient("ClapAudioModelWithProjection", "Apache-2.0", "CLAP HTSAT (LAION)"),
        "image_pipeline": Ingredient(
            "StableDiffusionPipeline", "CreativeML OpenRAIL-M", "runwayml/stable-diffusion-v1-5"
        ),
        "video_pipeline": Ingredient("TextToVideoSDPipeline", "CC-BY-NC-4.0", "cerspense/zeroscope_v2_576w"),
        "audio_pipeline": Ingredient("AudioLDMPipeline", "CC-BY-NC-SA-4.0", "cvssp/audioldm-l-full"),
        **{f"{name}_input_projection": _INTO for name in ("image", "video", "audio")},
        **{f"{name}_output_projection": _OUT_OF for name in ("image", "video", "audio")},
    },
    tuning=Tuning(
        rank=32,
        alpha=32.0,
        feature_widths={"image": 1024, "video": 1024, "audio": 512},
        conditions={"image": (77, 768), "video": (77, 1024), "audio": (1, 512)},
    ),
)  # fmt: skip

ANYGPT_7B = PackRecipe(
    name="anygpt-7b",
    licence="Llama 2 Community License",
    language=LanguageSizes(
        hidden=4096, layers=32, heads=32, key_heads=32, feed_forward=11_008, context=4096, rows=49_420
    ),
    vocabulary=papers.ANYGPT_CHAT,
    prompt=papers.ANYGPT_CHAT_PROMPT,
    modalities={
        "text": ModalityEntry(
            input=InputEntry(path="tokens"),
            output=OutputEntry(path="tokens", streams=True, sampling=SamplingEntry(max_tokens=500)),
        ),
        "image": ModalityEntry(
            output=OutputEntry(
                path="codes", min_count=32, max_count=32, width=768, height=768, steps=20, guidance=10.0,
                schedulers=tuple(SCHEDULERS), formats=PICTURES, sampling=SamplingEntry(top_p=0.7, max_tokens=64),
            ),
        ),
        "audio": ModalityEntry(
            input=InputEntry(path="codes", rate=200.0, max_duration_s=5.0),
            output=OutputEntry(
                path="codes", sample_rate=32_000, duration_s=10.0, formats=SOUNDS,
                sampling=SamplingEntry(top_k=200, repetition_penalty=1.15, max_tokens=2000),
            ),
        ),
    },
    parts={
        "llm": Ingredient("LlamaForCausalLM", "Llama 2 Community License", "fnlp/AnyGPT-chat", trained=True),
        "image_detokeniser": Ingredient(
            "SeedDetokeniser", "Apache-2.0", "AILab-CVC/seed-tokenizer-2, the side that decodes"
        ),
        "image_pipeline": Ingredient(
            "StableUnCLIPImg2ImgPipeline", "CreativeML OpenRAIL++-M", "stabilityai/stable-diffusion-2-1-unclip"
        ),
        "audio_codec": Ingredient("EncodecModel", "CC-BY-NC-4.0", "facebook/encodec_32khz"),
    },
)  # fmt: skip

RECIPES = {recipe.name: recipe for recipe in (NEXTGPT_7B, ANYGPT_7B)}
