"""Greedy answers of the mini pack by transformers' `generate`: `python -m tests.unit.llm.goldens` makes them again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from anygpt.pack import ANNOUNCEMENT, Pack, open_pack
from anygpt.topology import MODALITIES, MODALITY_NAMES, TEXT, Modality
from anygpt_models.lora import LanguageAdapter
from services.llm.model.loading import base_source
from services.llm.model.weights import source_digest
from services.llm.tokeniser import Tokeniser

FILE = Path(__file__).with_name("goldens.json")
MOST = 12
"""Tokens of a span of text or codes."""
SUBJECTS = (
    "a cat on a blue background", "happy piano music", "a rocket rising", "two red apples", "rain on a roof",
    "What is the capital of France?", "Name three fruits.", "a dog that runs", "Good morning!", "die Farbe Grün",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """A prompt and the one modality that is wanted."""

    prompt: tuple[int, ...]
    want: Modality


def cases(pack: Pack) -> Iterator[Case]:
    """Fifty prompts: ten subjects in each modality, as turns of a chat."""
    tokeniser = Tokeniser(pack.part("tokenizer") / "tokenizer.json", pack.vocabulary.text_size)
    start, end = tokeniser.stop_id("<|im_start|>"), tokeniser.stop_id("<|im_end|>")
    for modality in MODALITIES.values():
        for subject in SUBJECTS:
            user = tokeniser.encode(f"user\n{subject}")
            answer = tokeniser.encode("assistant\n")
            yield Case((start, *user, end, *tokeniser.encode("\n"), start, *answer), modality)


def digest(pack: Pack) -> str:
    """Of the weights that the answers are of."""
    adapter = [
        value for path, value in sorted(pack.manifest.files.items()) if path.startswith("llm_adapter/")
    ]
    return ":".join([source_digest(base_source(pack)), *adapter])


class Reference:
    """transformers with the pack's adapter installed, and this file's own idea of what may follow what."""

    def __init__(self, pack: Pack) -> None:
        from transformers import AutoModelForCausalLM

        file = base_source(pack)
        self._vocabulary = pack.vocabulary
        self._announced = {modality for modality, entry in pack.outputs.items() if entry.announced}
        model: Any = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, local_files_only=True
        )
        LanguageAdapter.from_pretrained(pack.part("llm_adapter")).install(model)
        self._model = model
        content = json.loads((pack.part("tokenizer") / "tokenizer.json").read_text())
        special = {token["id"] for token in content["added_tokens"]}
        self._text = [token for token in range(pack.vocabulary.text_size) if token not in special]
        self._stop = next(t["id"] for t in content["added_tokens"] if t["content"] == "<|im_end|>")

    @torch.inference_mode()
    def answer(self, case: Case) -> list[int]:
        """The ids of the answer, without the end of turn."""
        first = len(case.prompt)
        whole = self._model.generate(
            torch.tensor([case.prompt]), attention_mask=torch.ones(1, first), max_new_tokens=96, do_sample=False,
            eos_token_id=self._stop, pad_token_id=0,
            prefix_allowed_tokens_fn=lambda _, ids: self._follow(ids[first:].tolist(), case.want),
        )  # fmt: skip
        return [token for token in whole[0, first:].tolist() if token != self._stop]

    def _follow(self, answer: list[int], want: Modality) -> list[int]:
        if want == TEXT:
            return [self._stop] if len(answer) == MOST else [*self._text, *([self._stop] if answer else [])]
        brackets = self._vocabulary.brackets[want]
        if brackets.begin not in answer:
            says = want in self._announced and len(answer) < ANNOUNCEMENT
            return [*(self._text if says else []), brackets.begin]
        if answer[-1] == brackets.end:
            return [self._stop, brackets.begin]
        count = answer[::-1].index(brackets.begin)
        if want in self._vocabulary.signals:
            signals = self._vocabulary.signals[want]
            return [signals.first + count] if count < signals.count else [brackets.end]
        codes = list(self._vocabulary.codes[want].ids)
        return [brackets.end] if count == MOST else [*codes, *([brackets.end] if count else [])]


def made() -> dict[str, Any]:
    """The whole file's content."""
    pack = open_pack("mini")
    reference = Reference(pack)
    answers = [
        {"want": MODALITY_NAMES[case.want], "prompt": list(case.prompt), "ids": reference.answer(case)}
        for case in cases(pack)
    ]
    return {"digest": digest(pack), "answers": answers}


if __name__ == "__main__":
    FILE.write_text(json.dumps(made()) + "\n")
