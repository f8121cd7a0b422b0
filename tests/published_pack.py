"""Tiny random models of the very classes that the published systems are made of, in the folders of their recipes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from anygpt.pack import ModalityEntry
from anygpt.vocabulary import CodesBlock, ModalityName, Vocabulary, VocabularyLayout
from anygpt_models.lora import LanguageAdapter
from anygpt_models.projection import InputProjection, OutputProjection
from anygpt_models.seed_detokeniser import SeedDetokeniser
from services.trainer.pack_recipe import LanguageSizes, PackRecipe
from services.trainer.published import ANYGPT_7B, NEXTGPT_7B

HIDDEN, LAYERS = 32, 2
TEXT = 300
SEEN, FILMED, CLAP = 32, 40, 24
"""Widths of CLIP's space and the condition of images, of the condition of videos, and of CLAP's space."""
QUERIES = 77
CONDITIONS: Mapping[ModalityName, tuple[int, int]] = {
    "image": (QUERIES, SEEN), "video": (QUERIES, FILMED), "audio": (1, CLAP)
}  # fmt: skip
SIDE = 16
CONTEXT = 2048


def tiny(recipe: PackRecipe) -> PackRecipe:
    """A recipe at sizes that a test can bear; its parts and its vocabulary's order stay what they are."""
    layout = VocabularyLayout(text_size=TEXT, blocks=tuple(map(_fewer, recipe.vocabulary.blocks)))
    rows = TEXT if "llm_adapter" in recipe.parts else Vocabulary(layout).size
    language = LanguageSizes(HIDDEN, LAYERS, 4, 4, 48, CONTEXT, rows)
    entries = {name: _smaller(name, entry) for name, entry in recipe.modalities.items()}
    tuning = recipe.tuning and replace(recipe.tuning, conditions=CONDITIONS)
    return replace(recipe, language=language, vocabulary=layout, modalities=entries, tuning=tuning)


def _fewer(block: Any) -> Any:
    if not isinstance(block, CodesBlock):
        return block
    return block.model_copy(update={"count": 64 if block.cycle == 1 else 4 * 32})


def _smaller(name: str, entry: ModalityEntry) -> ModalityEntry:
    into, out = entry.input, entry.output
    if into is not None and into.path == "features":
        into = into.model_copy(update={"width": CLAP if name == "audio" else SEEN})
    if out is not None:
        sizes: dict[str, Any] = {"steps": 2} if out.steps else {}
        if out.width:
            sizes |= {"width": SIDE, "height": SIDE}
        if out.frame_rate:
            sizes |= {"frame_rate": 2.0, "duration_s": 1.0}
        if name == "audio":
            sizes |= {"duration_s": 0.2}
        out = out.model_copy(update=sizes)
    return ModalityEntry(input=into, output=out)


def save_next_gpt(folder: Path) -> PackRecipe:
    """The parts of NExT-GPT below a folder."""
    torch.manual_seed(0)
    recipe = tiny(NEXTGPT_7B)
    new = Vocabulary(recipe.vocabulary).size - TEXT
    _language(folder / "llm", TEXT)
    LanguageAdapter(new, HIDDEN, HIDDEN, LAYERS, rank=2).save_pretrained(folder / "llm_adapter")
    _vision(SEEN).save_pretrained(folder / "image_encoder")
    save_clap(folder / "audio_encoder")
    stable_diffusion().save_pretrained(folder / "image_pipeline")
    text_to_video().save_pretrained(folder / "video_pipeline")
    audio_ldm().save_pretrained(folder / "audio_pipeline")
    for name, (queries, width) in CONDITIONS.items():
        InputProjection(CLAP if name == "audio" else SEEN, HIDDEN).save_pretrained(
            folder / f"{name}_input_projection"
        )
        out = OutputProjection(HIDDEN, width, queries, width=16, layers=1, feed_forward=16)
        out.save_pretrained(folder / f"{name}_output_projection")
    return recipe


def save_anygpt(folder: Path) -> PackRecipe:
    """The parts of AnyGPT below a folder."""
    torch.manual_seed(0)
    recipe = tiny(ANYGPT_7B)
    _language(folder / "llm", recipe.language.rows)
    SeedDetokeniser(codebook=64, width=24, layers=1, out_width=SEEN).save_pretrained(
        folder / "image_detokeniser"
    )
    unclip().save_pretrained(folder / "image_pipeline")
    encodec().save_pretrained(folder / "audio_codec")
    return recipe


def stable_diffusion() -> Any:
    """Stable Diffusion's pipeline."""
    return diffusers.StableDiffusionPipeline(
        vae=_autoencoder(3), text_encoder=_text_encoder(SEEN), tokenizer=_clip_tokenizer(), unet=_unet(SEEN),
        scheduler=_scheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def text_to_video() -> Any:
    """ModelScope's and Zeroscope's pipeline."""
    unet = diffusers.UNet3DConditionModel(
        block_out_channels=(8, 8), layers_per_block=1, sample_size=SIDE // 2, in_channels=4, out_channels=4,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"), up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        cross_attention_dim=FILMED, attention_head_dim=4, norm_num_groups=2,
    )  # fmt: skip
    return diffusers.TextToVideoSDPipeline(
        vae=_autoencoder(3), text_encoder=_text_encoder(FILMED), tokenizer=_clip_tokenizer(), unet=unet,
        scheduler=_scheduler(),
    )  # fmt: skip


def audio_ldm() -> Any:
    """AudioLDM's pipeline."""
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=8, sample_size=SIDE, in_channels=4,
        out_channels=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=(8, 16),
        class_embed_type="simple_projection", projection_class_embeddings_input_dim=CLAP,
        class_embeddings_concat=True,
    )  # fmt: skip
    text = transformers.ClapTextConfig(
        hidden_size=16, intermediate_size=24, num_attention_heads=2, num_hidden_layers=1, vocab_size=300,
        projection_dim=CLAP, max_position_embeddings=128, pad_token_id=1, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    vocoder = transformers.SpeechT5HifiGanConfig(
        model_in_dim=8, sampling_rate=16_000, upsample_initial_channel=16, upsample_rates=[2, 2],
        upsample_kernel_sizes=[4, 4], resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3]],
        normalize_before=False,
    )  # fmt: skip
    return diffusers.AudioLDMPipeline(
        vae=_autoencoder(1), text_encoder=transformers.ClapTextModelWithProjection(text),
        tokenizer=_roberta_tokenizer(), unet=unet, scheduler=_scheduler(),
        vocoder=transformers.SpeechT5HifiGan(vocoder),
    )  # fmt: skip


def unclip() -> Any:
    """Stable Diffusion 2.1 unCLIP's pipeline."""
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import (
        StableUnCLIPImageNormalizer,
    )

    unet = diffusers.UNet2DConditionModel(
        sample_size=SIDE // 2, in_channels=4, out_channels=4, block_out_channels=(8, 16), norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=(2, 4), class_embed_type="projection", projection_class_embeddings_input_dim=2 * SEEN,
        cross_attention_dim=SEEN, layers_per_block=1, use_linear_projection=True,
    )  # fmt: skip
    return diffusers.StableUnCLIPImg2ImgPipeline(
        feature_extractor=transformers.CLIPImageProcessor(crop_size=32, size=32), image_encoder=_vision(SEEN),
        image_normalizer=StableUnCLIPImageNormalizer(embedding_dim=SEEN),
        image_noising_scheduler=diffusers.DDPMScheduler(),
        tokenizer=_clip_tokenizer(), text_encoder=_text_encoder(SEEN), unet=unet, scheduler=_scheduler(),
        vae=_autoencoder(3),
    )  # fmt: skip


def encodec() -> Any:
    """EnCodec as it codes music: one channel, four codebooks, 50 frames a second."""
    config = transformers.EncodecConfig(
        target_bandwidths=[1.0], sampling_rate=32_000, audio_channels=1, num_filters=4, hidden_size=16,
        codebook_size=32, codebook_dim=16, upsampling_ratios=[8, 5, 4, 4], num_lstm_layers=1, norm_type="weight_norm",
    )  # fmt: skip
    return transformers.EncodecModel(config)


def _language(folder: Path, rows: int) -> None:
    config = transformers.LlamaConfig(
        vocab_size=rows, hidden_size=HIDDEN, intermediate_size=48, num_hidden_layers=LAYERS, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=CONTEXT, tie_word_embeddings=False,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    _tokenizer().save(str(folder / "tokenizer.json"))


def _tokenizer() -> Tokenizer:
    """Of single letters, as Llama's: a space begins a word, a newline is a byte, and `###` is two words without one."""
    marks, space = ["<unk>", "<s>", "</s>"], "\N{LOWER ONE EIGHTH BLOCK}"
    letters = [space, *(chr(code) for code in range(ord("!"), ord("~") + 1))]
    merges = [(space, "#"), (f"{space}#", "#"), (f"{space}##", "#"), ("#", "#")]
    pieces = [*marks, "<0x0A>", *map("".join, merges), *letters]
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, unk_token=marks[0], fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(space), normalizers.Replace(" ", space)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(space, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in marks])
    return tokenizer


def _clip_tokenizer() -> Any:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*alphabet, *(f"{letter}</w>" for letter in alphabet[:20]), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: place for place, word in enumerate(words)}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=QUERIES)


def _roberta_tokenizer() -> Any:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *alphabet]
    vocabulary = {word: place for place, word in enumerate(words)}
    return transformers.RobertaTokenizer(vocab=vocabulary, merges=[], model_max_length=64)


def _text_encoder(width: int) -> Any:
    config = transformers.CLIPTextConfig(
        hidden_size=width, intermediate_size=37, num_attention_heads=4, num_hidden_layers=1, vocab_size=300,
        max_position_embeddings=QUERIES, bos_token_id=276, eos_token_id=277, pad_token_id=277,
    )  # fmt: skip
    return transformers.CLIPTextModel(config)


def _vision(width: int) -> Any:
    config = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_attention_heads=2, num_hidden_layers=1, image_size=32, patch_size=8,
        projection_dim=width,
    )  # fmt: skip
    return transformers.CLIPVisionModelWithProjection(config)


def save_clap(folder: Path, *, fused: bool = False) -> None:
    """CLAP's encoder of sounds; one that is fused sees a long one as a whole and in three pieces."""
    config = transformers.ClapAudioConfig(
        window_size=4, num_mel_bins=32, spec_size=32, patch_size=4, patch_stride=[4, 4], depths=[1, 1],
        num_attention_heads=[2, 2], patch_embeds_hidden_size=8, hidden_size=16, projection_dim=CLAP,
        enable_fusion=fused,
    )  # fmt: skip
    transformers.ClapAudioModelWithProjection(config).save_pretrained(folder)
    extractor = transformers.ClapFeatureExtractor(
        feature_size=32, sampling_rate=4800, hop_length=480, max_length_s=2, fft_window_size=512, frequency_max=2000,
        truncation="fusion" if fused else "rand_trunc", padding="repeatpad",
    )  # fmt: skip
    extractor.save_pretrained(folder)


def _unet(width: int) -> Any:
    return diffusers.UNet2DConditionModel(
        block_out_channels=(8, 16), layers_per_block=1, sample_size=SIDE // 2, in_channels=4, out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=width, norm_num_groups=8,
    )  # fmt: skip


def _autoencoder(channels: int) -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 16), in_channels=channels, out_channels=channels, norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4,
    )  # fmt: skip


def _scheduler() -> Any:
    return diffusers.DDIMScheduler(steps_offset=1, clip_sample=False)
