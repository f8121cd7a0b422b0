from __future__ import annotations

from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from anygpt.pack import open_pack
from anygpt_models.lora import LanguageAdapter, LoRA
from services.trainer.alignment_model import AlignedModel
from services.trainer.data import english
from tests.unit.alignment.test_sizes import tiny_llama


class Numbers:
    """A tokenizer for which a text is its length."""

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [len(text)] * len(text.split())}


def test_every_text_goes_on_from_its_beginning_to_one_length() -> None:
    write = english.sampled(tiny_llama(), Numbers(), size=2)  # type: ignore[arg-type]
    found = write(["a", "a b c", "ab cd"])
    assert [len(ids) for ids in found] == [english.LENGTH] * 3
    assert [ids[0] for ids in found] == [1, 5, 5]
    assert found[1] != found[2]


def test_texts_are_written_once_then_kept(tmp_path: Path) -> None:
    written: list[int] = []

    def author(beginnings: list[str]) -> list[list[int]]:
        written.append(len(beginnings))
        return [[7] * english.LENGTH for _ in beginnings]

    first, second = english.texts(tmp_path, author), english.texts(tmp_path, author)
    assert torch.equal(first, second)
    assert written == [len(first)]


def disturb(lora: LoRA) -> None:
    for name, weight in lora.named_parameters():
        if name.endswith("b"):
            torch.nn.init.normal_(weight)


def tuned(model: LlamaForCausalLM) -> LoRA:
    lora = LoRA(2, 16, 8, 2, 4.0)
    disturb(lora)
    lora.attach(model)
    return lora


def test_updates_that_are_left_out_change_nothing_and_come_back() -> None:
    model, ids = tiny_llama(), torch.arange(6)[None]
    plain = model(input_ids=ids).logits
    lora = tuned(model)
    with lora.left_out():
        assert torch.equal(model(input_ids=ids).logits, plain)
    assert not torch.allclose(model(input_ids=ids).logits, plain)


def test_drift_is_none_before_the_updates_have_learned_and_pulls_only_at_them_afterwards() -> None:
    adapter = LanguageAdapter(4, 16, 8, 2, rank=2)
    model = AlignedModel(tiny_llama(), open_pack("mini").vocabulary, adapter, {}, {})
    ids = torch.arange(12).view(2, 6)
    assert float(model.drift_loss(ids).detach()) < 1e-6
    disturb(adapter.lora)
    drift = model.drift_loss(ids)
    assert float(drift.detach()) > 1e-3
    drift.backward()
    assert all(weight.grad is not None for weight in adapter.lora.parameters())
    assert not any(weight.grad is not None for weight in model.base.parameters())
