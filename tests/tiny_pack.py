"""A pack of a few kilobytes that serves all modalities: the language model is random, the other parts are absent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from anygpt.pack import Manifest, file_digest
from anygpt_models.lora import LanguageAdapter
from anygpt_models.projection import InputProjection

TEXT_SIZE = 300
HIDDEN = 64
CONTEXT = 512
WIDTH = 24
SENTENCES = (
    "The capital of France is Paris.",
    "a cat on a blue background",
    "happy piano music",
    "Überraschung für 猫",
)


@dataclass(frozen=True)
class TinyPack:
    """What may differ between tiny packs."""

    seed: int = 0
    context: int = CONTEXT
    biases: bool = False
    adapter: bool = True
    announced: bool = False
    """Whether pictures and videos are announced."""
    like_text: bool = False
    """Whether codes of speech are like text tokens."""


def build_tiny_pack(folder: Path, options: TinyPack = TinyPack()) -> Path:
    """Write the pack and return its folder; the same options give the same pack."""
    torch.manual_seed(options.seed)
    (folder / "tokenizer").mkdir(parents=True)
    tiny_tokenizer().save(str(folder / "tokenizer" / "tokenizer.json"))
    tiny_model(options).save_pretrained(folder / "llm")
    if options.adapter:
        _save_adapter(folder / "llm_adapter", options.like_text)
    for name in ("image", "video", "audio"):
        InputProjection(in_width=WIDTH, out_width=HIDDEN).save_pretrained(folder / f"{name}_input_projection")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = _manifest(options.context, options.announced) | {
        "files": {str(f.relative_to(folder)): file_digest(f) for f in files}
    }
    (folder / "manifest.json").write_text(Manifest.model_validate(manifest).model_dump_json(indent=1))
    return folder


def tiny_tokenizer() -> Tokenizer:
    """Byte-level BPE of 300 ids at most, with the marks of turns as special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    marks = [AddedToken(mark, special=True) for mark in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")]
    trainer = trainers.BpeTrainer(
        vocab_size=TEXT_SIZE,
        special_tokens=marks,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


def tiny_model(options: TinyPack = TinyPack()) -> PreTrainedModel:
    """A random two-layer model; with biases it is of the Qwen2 class."""
    sizes: dict[str, Any] = {
        "vocab_size": TEXT_SIZE,
        "hidden_size": HIDDEN,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": options.context,
        "initializer_range": 0.3,
    }
    if not options.biases:
        llama: PreTrainedModel = LlamaForCausalLM(LlamaConfig(**sizes, tie_word_embeddings=True))
        return llama
    model: PreTrainedModel = Qwen2ForCausalLM(Qwen2Config(**sizes, tie_word_embeddings=False))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def _save_adapter(folder: Path, like_text: bool) -> None:
    new = sum(_rows(block) for block in BLOCKS)
    codes: dict[str, Any] = {"codes": 64, "codes_after": 32, "codes_rank": 4} if like_text else {}
    adapter = LanguageAdapter(
        tokens=new, width=HIDDEN, key_width=HIDDEN // 2, layers=2, rank=4, alpha=8.0, **codes
    )
    if like_text:
        adapter.codes_like.copy_(torch.arange(64) * 3)
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    adapter.save_pretrained(folder)


def _rows(block: dict[str, Any]) -> int:
    return 2 if block["kind"] == "brackets" else int(block["count"])


BLOCKS: list[dict[str, Any]] = [
    {"kind": "brackets", "modalities": ["image"], "begin": "<soim>", "end": "<eoim>"},
    {"kind": "signals", "modality": "image", "count": 4, "token": "<image{}>"},
    {"kind": "brackets", "modalities": ["video"], "begin": "<sovi>", "end": "<eovi>"},
    {"kind": "signals", "modality": "video", "count": 24, "token": "<video{}>"},
    {"kind": "codes", "modality": "speech", "count": 64, "token": "<speech{}>"},
    {"kind": "brackets", "modalities": ["speech"], "begin": "<sosp>", "end": "<eosp>"},
    {"kind": "codes", "modality": "audio", "count": 64, "cycle": 4, "token": "<audio{}>"},
    {"kind": "brackets", "modalities": ["audio"], "begin": "<soau>", "end": "<eoau>"},
]


def _manifest(context: int, announced: bool) -> dict[str, Any]:
    return {
        "name": "tiny",
        "version": "1",
        "licence": "Apache-2.0",
        "base_model": {"folder": "llm", "tokenizer": "tokenizer", "hidden_size": HIDDEN, "context": context},
        "vocabulary": {"text_size": TEXT_SIZE, "blocks": BLOCKS},
        "modalities": {
            "text": {"input": {"path": "tokens"}, "output": _output("tokens", 48)},
            "image": {
                "input": _features(10, counts=[4, 5, 10]),
                "output": _output("signals", 4, min_count=4, max_count=4, announced=announced),
            },
            "video": {
                "input": _features(8),
                "output": _output("signals", 24, min_count=24, max_count=24, announced=announced),
            },
            "speech": {
                "input": {"path": "codes", "rate": 8, "max_duration_s": 30},
                "output": _output("codes", 40, min_count=4, max_count=40, streams=True, sample_rate=16000),
            },
            "audio": {
                "input": _features(8),
                "output": _output("codes", 64, min_count=8, max_count=64, streams=True, sample_rate=16000),
            },
        },
        "prompt": {
            "before_system": "<|im_start|>system\n",
            "before_user": "<|im_start|>user\n",
            "before_assistant": "<|im_start|>assistant\n",
            "after_turn": "<|im_end|>\n",
            "stop": ["<|im_end|>"],
        },
        "parts": {"llm": {"licence": "Apache-2.0", "provenance": "random", "trained": False}},
    }


def _features(length: int, **more: Any) -> dict[str, Any]:
    return {"path": "features", "length": length, "width": WIDTH, **more}


def _output(path: str, max_tokens: int, **more: Any) -> dict[str, Any]:
    return {"path": path, "sampling": {"max_tokens": max_tokens, "temperature": 1.0}, **more}
