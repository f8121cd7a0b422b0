"""A pack of the mini pack's classes with random weights: every shape is right, and nothing was learned."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import torch

from anygpt_models.audio_codec import LENGTH, AudioCodec
from anygpt_models.audio_pipeline import Styles
from anygpt_models.audio_recogniser import AudioRecogniser
from anygpt_models.caption import CaptionEncoder
from anygpt_models.denoiser import CodeDenoiser
from anygpt_models.image_codec import ImageCodec
from anygpt_models.image_recogniser import ImageRecogniser
from anygpt_models.mask_scheduler import MaskScheduler
from anygpt_models.projection import OutputProjection
from anygpt_models.speech_language import SpeechLanguage
from anygpt_models.speech_pronouncer import SpeechPronouncer
from anygpt_models.speech_recogniser import SpeechRecogniser
from anygpt_models.speech_synthesiser import SpeechSynthesiser
from anygpt_models.speech_text import ALPHABET
from anygpt_models.speech_units import SpeechUnits
from anygpt_models.video_codec import MotionCodec
from anygpt_models.video_recogniser import MotionRecogniser
from anygpt_models.vocoder import Vocoder

InputPath = Literal["features", "codes"]
OutputPath = Literal["signals", "codes"]

SIGNALS = {"image": 4, "video": 24, "audio": 8}
HIDDEN = 576
UNITS = 1024
CODES = {"image": 4096, "video": 4096, "audio": 4096}
_LENGTHS = {"image": 4, "video": 8, "audio": 8}
_NATIVE: dict[str, dict[str, Any]] = {
    "image": {"width": 128, "height": 128, "steps": 4, "guidance": 1.5, "formats": ["png", "jpeg", "webp"],
              "schedulers": ["cosine", "linear"]},
    "video": {"width": 128, "height": 128, "frame_rate": 8.0, "duration_s": 3.0, "steps": 4, "guidance": 1.5,
              "formats": ["mp4", "webm", "gif"], "schedulers": ["cosine", "linear"]},
    "audio": {"sample_rate": 16000, "duration_s": 5.12, "steps": 4, "guidance": 1.5,
              "formats": ["wav", "flac", "ogg", "mp3"]},
}  # fmt: skip


def manifest(into: InputPath = "features", out: OutputPath = "signals") -> dict[str, Any]:
    """The manifest: images, videos and audio on the paths given, speech in codes."""
    blocks: list[dict[str, Any]] = []
    modalities: dict[str, Any] = {"text": {"input": {"path": "tokens"}, "output": _output("tokens")}}
    for name, count in SIGNALS.items():
        blocks.append({"kind": "brackets", "modalities": [name], "begin": f"<{name}>", "end": f"</{name}>"})
        blocks.append({"kind": "signals", "modality": name, "count": count, "token": f"[{name}{{}}]"})
        blocks.append({"kind": "codes", "modality": name, "count": CODES[name], "token": f"<{name}{{}}>"})
        most = count if out == "signals" else 0
        taken = {"path": into, "length": _LENGTHS[name], "width": 256}
        modalities[name] = {"input": taken, "output": _output(out, max_count=most, **_NATIVE[name])}
    blocks.append({"kind": "codes", "modality": "speech", "count": UNITS, "token": "<s{}>"})
    said = _output(
        "codes", streams=True, sample_rate=16000, max_count=512, formats=["wav", "flac", "ogg", "mp3"]
    )
    modalities["speech"] = {"input": {"path": "codes", "rate": 8.0, "max_duration_s": 60.0}, "output": said}
    return {
        "name": "random", "version": "1", "licence": "Apache-2.0",
        "base_model": {"folder": "llm", "tokenizer": "tokenizer", "hidden_size": HIDDEN, "context": 2048},
        "vocabulary": {"text_size": 49152, "blocks": blocks}, "modalities": modalities,
        "prompt": {"before_system": "", "before_user": "", "before_assistant": "", "after_turn": "", "stop": ["x"]},
        "voices": ["joe", "heart"], "parts": {}, "files": {},
    }  # fmt: skip


def build_media_pack(folder: Path) -> Path:
    """Write the pack with its parts below `folder`."""
    torch.manual_seed(0)
    words = ("one", "two", "three")
    symbols = [*"abcdefgh", " ", ",", "."]
    parts: dict[str, Any] = {
        "image_codec": ImageCodec(), "image_recogniser": ImageRecogniser(words, words, words),
        "image_caption": CaptionEncoder(), "image_denoiser": CodeDenoiser(),
        "motion_codec": MotionCodec(), "motion_recogniser": MotionRecogniser(words),
        "video_denoiser": CodeDenoiser(length=24, width=128, depth=3),
        "audio_codec": AudioCodec(), "audio_recogniser": AudioRecogniser(words, words, words),
        "audio_caption": CaptionEncoder(), "audio_denoiser": CodeDenoiser(length=LENGTH), "audio_styles": Styles(),
        "vocoder": Vocoder(iterations=2),
        "speech_recogniser": SpeechRecogniser(" abcdefgh"), "speech_pronouncer": SpeechPronouncer(symbols),
        "speech_synthesiser": SpeechSynthesiser(symbols, ["joe", "heart"]),
        **{f"{name}_output_projection": OutputProjection(HIDDEN, 256, 8, 64, 1, 64) for name in SIGNALS},
    }  # fmt: skip
    for name, part in parts.items():
        part.half().save_pretrained(folder / name)
    MaskScheduler().save_pretrained(folder / "scheduler")
    pairs = [f"{first}{second}" for first in ALPHABET[2:] for second in ALPHABET]
    pieces = [*ALPHABET, *[pair for pair in pairs if " " not in pair]][:UNITS]
    SpeechUnits(pieces, [(pair[0], pair[1]) for pair in pieces[len(ALPHABET) :]]).save_pretrained(
        folder / "speech_units"
    )
    SpeechLanguage({}, {}, {sound: [sound] for sound in "abcdefgh"}).save_pretrained(
        folder / "speech_language"
    )
    write_manifest(folder, manifest())
    return folder


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Replace the pack's manifest."""
    (folder / "manifest.json").write_text(json.dumps(content), encoding="utf-8")


def sibling(folder: Path, target: Path, content: dict[str, Any]) -> Path:
    """The same parts under another manifest."""
    target.mkdir()
    for part in folder.iterdir():
        if part.is_dir():
            shutil.copytree(part, target / part.name)
    write_manifest(target, content)
    return target


def _output(path: str, **more: Any) -> dict[str, Any]:
    return {"path": path, "sampling": {"max_tokens": 64}, **more}
