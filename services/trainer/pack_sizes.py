"""The sizes by which parts fit the vocabulary, the modalities and each other: one class comes in many sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anygpt.errors import Precondition
from anygpt.pack import ModalityEntry
from anygpt.topology import AUDIO, IMAGE, MODALITIES, SPEECH
from anygpt.vocabulary import ModalityName, Vocabulary
from anygpt_models.part import CONFIG, UNFIT, read_config
from anygpt_models.published.loading import class_of
from anygpt_models.published.music import ENCODEC

Config = Mapping[str, Any]
"""What the configuration of a part or of its component says."""
Due = Iterator[tuple[str, str, object]]
"""Folder of a part or of its component, setting, and what that should be."""

ENCODERS: Mapping[str, tuple[ModalityName, ...]] = {
    "image_encoder": ("image", "video"), "audio_encoder": ("audio",)
}  # fmt: skip
"""The modalities that each published encoder takes in."""
CONDITIONS: Mapping[ModalityName, str] = {
    "image": "cross_attention_dim", "video": "cross_attention_dim",
    "audio": "projection_class_embeddings_input_dim",
}  # fmt: skip
"""The setting of a published pipeline's U-Net that is the width of its condition."""


@dataclass(frozen=True)
class Fit:
    """What the parts of a pack must fit."""

    hidden: int
    """Width of the language model."""
    vocabulary: Vocabulary
    modalities: Mapping[ModalityName, ModalityEntry]
    conditions: Mapping[ModalityName, tuple[int, int]] = field(default_factory=dict)
    """Vectors of a pipeline's condition, and their width; of one that is not here the width is its own."""


def read_configs(part: Path) -> dict[str, Config]:
    """The settings of a part and of its components by folder, and what EnCodec's come to.

    Raises Precondition for a malformed file.
    """
    files = [part / CONFIG, *sorted(part.glob(f"*/{CONFIG}"))]
    configs: dict[str, Config] = {
        file.parent.relative_to(part.parent).as_posix(): read_config(file.parent)
        for file in files
        if file.is_file()
    }
    if class_of(part) == ENCODEC:
        config = configs.get(part.name, {})
        configs[part.name] = {**config, **_music_codes(part, config)}
    return configs


def misfits(configs: Mapping[str, Config], fit: Fit) -> Iterator[tuple[str, str]]:
    """Part and message of each size that should be another; what has no settings has no sizes."""
    for folder, setting, size in _due(configs, fit):
        if folder in configs and (found := configs[folder].get(setting)) != size:
            part, _, component = folder.partition("/")
            yield part, f"{component and f'{component}/'}{setting} should be {size}, is {found}"


def _due(configs: Mapping[str, Config], fit: Fit) -> Due:
    yield from _adapter(configs.get("llm_adapter", {}), fit)
    for modality, entry in fit.modalities.items():
        if entry.input:
            yield f"{modality}_input_projection", "in_width", entry.input.width
            yield f"{modality}_input_projection", "out_width", fit.hidden
    for encoder, names in ENCODERS.items():
        inputs = [fit.modalities[name].input for name in names if name in fit.modalities]
        for width in {into.width for into in inputs if into and into.path == "features"}:
            yield encoder, "projection_dim", width
    for name in MODALITIES:
        yield f"{name}_output_projection", "in_width", fit.hidden
    yield from _conditions(configs, fit)
    yield from _picture_codes(configs, fit)
    yield from _sounds(configs, fit)


def _adapter(config: Config, fit: Fit) -> Due:
    vocabulary = fit.vocabulary
    yield "llm_adapter", "tokens", vocabulary.size - vocabulary.text_size
    yield "llm_adapter", "width", fit.hidden
    if config.get("codes") and SPEECH in vocabulary.codes:
        codes = vocabulary.codes[SPEECH]
        yield "llm_adapter", "codes", codes.count
        yield "llm_adapter", "codes_after", codes.first - vocabulary.text_size


def _conditions(configs: Mapping[str, Config], fit: Fit) -> Due:
    for name, setting in CONDITIONS.items():
        unet, projection = f"{name}_pipeline/unet", f"{name}_output_projection"
        if name in fit.conditions:
            queries, width = fit.conditions[name]
            yield projection, "queries", queries
            yield projection, "out_width", width
            yield unet, setting, width
        elif unet in configs:
            yield projection, "out_width", configs[unet].get(setting)


def _picture_codes(configs: Mapping[str, Config], fit: Fit) -> Due:
    codes, entry = fit.vocabulary.codes.get(IMAGE), fit.modalities.get("image", ModalityEntry()).output
    if codes and entry:
        yield "image_detokeniser", "codebook", codes.count
        yield "image_detokeniser", "length", entry.max_count
    if normaliser := configs.get("image_pipeline/image_normalizer"):
        yield "image_detokeniser", "out_width", normaliser.get("embedding_dim")


def _sounds(configs: Mapping[str, Config], fit: Fit) -> Due:
    entry, codes = fit.modalities.get("audio", ModalityEntry()), fit.vocabulary.codes.get(AUDIO)
    if entry.output:
        yield "audio_pipeline/vocoder", "sampling_rate", entry.output.sample_rate
    if codes and "codebooks" in configs.get("audio_codec", {}):
        yield "audio_codec", "codebook_size", codes.count // codes.cycle
        yield "audio_codec", "codebooks", codes.cycle
        if entry.input:
            yield "audio_codec", "codes_per_second", entry.input.rate
        if entry.output:
            yield "audio_codec", "sampling_rate", entry.output.sample_rate


def _music_codes(part: Path, config: Config) -> Config:
    """Codebooks of EnCodec at the most bits it was trained for, and the codes of a second."""
    try:
        frames = math.ceil(config["sampling_rate"] / math.prod(config["upsampling_ratios"]))
        bits = 1000 * max(config["target_bandwidths"])
        books = max(1, math.floor(bits / (math.log2(config["codebook_size"]) * frames)))
    except UNFIT as error:
        raise Precondition(
            f"{part.name}/{CONFIG} is not of {ENCODEC}", reason="PACK_PART_MISMATCH", field=part.name
        ) from error
    return {"codebooks": books, "codes_per_second": books * frames}
