"""A pack without weights: a manifest that serves every modality on both paths, and a tokenizer of single bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

FORMATS = {"image": ["png", "jpeg"], "audio": ["wav"], "video": ["mp4"]}
MARKS = ("<|start|>", "<|end|>")


def _output(path: str, **more: Any) -> dict[str, Any]:
    return {"path": path, "sampling": {"max_tokens": 64}, **more}


def manifest(text_size: int) -> dict[str, Any]:
    """The manifest of a pack in which images, videos and audio are features and signals, speech is codes."""
    names = ("image", "video", "audio", "speech")
    blocks: list[dict[str, Any]] = [
        {"kind": "brackets", "modalities": [name], "begin": f"<{name}>", "end": f"</{name}>"}
        for name in names
    ]
    counts = {"image": 4, "audio": 8, "video": 24}
    blocks += [
        {"kind": "signals", "modality": name, "count": count, "token": f"[{name}{{}}]"}
        for name, count in counts.items()
    ]
    blocks.append({"kind": "codes", "modality": "speech", "count": 64, "token": "<s{}>"})
    modalities: dict[str, Any] = {"text": {"input": {"path": "tokens"}, "output": _output("tokens")}}
    for name in counts:
        entry = {"path": "features", "length": 4, "width": 8}
        modalities[name] = {"input": entry, "output": _output("signals", formats=FORMATS[name])}
    speech_in = {"path": "codes", "rate": 8.0, "max_duration_s": 30.0}
    modalities["speech"] = {"input": speech_in, "output": _output("codes", streams=True, formats=["wav"])}
    return {
        "name": "plain", "version": "1", "licence": "Apache-2.0",
        "base_model": {"folder": "llm", "tokenizer": "tokenizer", "hidden_size": 8, "context": 2048},
        "vocabulary": {"text_size": text_size, "blocks": blocks},
        "modalities": modalities,
        "prompt": {
            "system": "", "before_system": "<|start|>system\n", "before_user": "<|start|>user\n",
            "before_assistant": "<|start|>assistant\n", "after_turn": "<|end|>\n", "stop": ["<|end|>"],
        },
        "voices": ["joe", "amy", "mute"], "parts": {}, "files": {},
    }  # fmt: skip


def build_pack(folder: Path) -> Path:
    """Write the pack below `folder`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in MARKS])
    (folder / "tokenizer").mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    text = json.dumps(manifest(tokenizer.get_vocab_size()))
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    return folder
