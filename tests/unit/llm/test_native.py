"""The compiled step: equal to plain torch on the same rounded weights, and to itself in any company, to the bit."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from anygpt.pack import open_pack
from anygpt.v1 import stages_pb2
from anygpt_models.lora import LanguageAdapter
from services.llm.model.blocks import to_blocks
from services.llm.model.eager import Eager, Options
from services.llm.model.loading import load_weights
from services.llm.model.native.build import load_library
from services.llm.model.quantised import MATRICES, Quantised, pack_weights
from services.llm.model.updates import Adapter
from services.llm.model.weights import Weights
from services.llm.step import Choice, Feed
from tests.tiny_pack import TEXT_SIZE, TinyPack, build_tiny_pack
from tests.unit.llm.asking import ask, opened, request
from tests.unit.llm.test_determinism import LONG, REQUESTS, alone, cramped, same

CACHE = Path("~/.cache/anygpt").expanduser()
ALL = Choice((range(TEXT_SIZE),))
LIBRARY = load_library(CACHE)

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="needs AVX2 and a C++ compiler")


def networks(weights: Weights, bits: int, adapter: Adapter | None = None) -> tuple[Quantised, Eager]:
    """The compiled step, and plain torch with the weights that its blocks stand for."""
    assert LIBRARY is not None
    adapters = {"some": adapter} if adapter else {}
    rounded = dict(weights.tensors)
    for name, matrix in weights.tensors.items():
        if name == "head" or name.rpartition(".")[2] in MATRICES:
            rounded[name] = to_blocks(matrix, 8 if name == "head" else bits).floats()
    options = Options(8, 64, torch.float32, torch.device("cpu"), False)
    quantised = Quantised(LIBRARY, pack_weights(weights, bits), adapters, 8)
    return quantised, Eager(replace(weights, tensors=rounded), adapters, options)


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """Size of the difference beside the size of the whole."""
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("read", [0, 17, 21])
def test_hidden_states_and_logits_are_those_of_torch_on_the_same_weights(
    tmp_path: Path, bits: int, biases: bool, read: int
) -> None:
    folder = build_tiny_pack(tmp_path / "pack", TinyPack(biases=biases, adapter=False))
    quantised, eager = networks(load_weights(open_pack(str(folder)), tmp_path), bits)
    ids = [(7 * n) % TEXT_SIZE for n in range(21)]
    feeds = [Feed([2, 5], 0, ids, read)]
    results = [one.forward(one.embed(ids), feeds) for one in (quantised, eager)]
    # Activations in 8 bits make half a per cent of error a product, which sharp random attention multiplies.
    assert distance(*results) < 0.1
    assert distance(*(result[:1] for result in results)) < 0.03
    assert distance(*(one.logits(results[1], [ALL])[:, :TEXT_SIZE] for one in (quantised, eager))) < 0.02


@pytest.mark.parametrize("read", [0, 9])
def test_a_sequence_with_an_adapter_is_updated_and_its_neighbour_is_not(
    pack: Path, tmp_path: Path, read: int
) -> None:
    weights = load_weights(open_pack(str(pack)), tmp_path)
    torch.manual_seed(1)
    part = LanguageAdapter(tokens=1, width=64, key_width=32, layers=2, rank=3, alpha=3.0)
    for parameter in part.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    adapter = Adapter({name: tensor.detach() for name, tensor in part.state_dict().items()}, 1.0)
    ids = list(range(9))
    plain = [Feed([0], 0, ids, read), Feed([1], 0, ids, read)]
    mixed = [plain[0], replace(plain[1], adapter="some")]
    quantised, eager = networks(weights, 8, adapter)
    outs = {}
    for name, network in (("quantised", quantised), ("eager", eager)):
        x = network.embed([*ids, *ids])
        outs[name] = (network.forward(x, plain), network.forward(x, mixed))
    for before, after in outs.values():
        assert torch.equal(before[:9], after[:9])
        assert distance(after[9:], before[9:]) > 0.1
    assert distance(outs["quantised"][1], outs["eager"][1]) < 0.1


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("read", [0, 30, 40])
def test_a_row_has_the_same_bits_alone_in_company_and_however_its_prompt_is_cut(
    pack: Path, tmp_path: Path, bits: int, read: int
) -> None:
    quantised, _ = networks(load_weights(open_pack(str(pack)), tmp_path), bits)
    ids = [(11 * n) % TEXT_SIZE for n in range(40)]
    whole = quantised.forward(quantised.embed(ids), [Feed([0, 1, 2], 0, ids, read)])
    pieces = []
    for start, stop in ((0, 5), (5, 6), (6, 23), (23, 40)):
        other = Feed([6], 0, ids[: 1 + start % 7], start % 2)
        feeds = [other, Feed([3, 4, 5], start, ids[start:stop], max(0, min(read, stop) - start))]
        embedded = quantised.embed([*other.ids, *ids[start:stop]])
        pieces.append(quantised.forward(embedded, feeds)[len(other.ids) :])
    assert torch.equal(torch.cat(pieces), whole)


async def test_answers_of_the_compiled_step_are_equal_alone_together_cached_and_preempted(pack: Path) -> None:
    single = await alone(pack, dtype="int8")
    async with opened(pack, dtype="int8", slots=8) as stage:
        together = await asyncio.gather(*(ask(stage, one) for one in REQUESTS))
        again = [await ask(stage, one) for one in REQUESTS]
    assert all(map(same, together, single))
    assert all(map(same, again, single))
    assert all(map(same, *await cramped(pack, dtype="int8")))


async def test_an_answer_that_is_read_again_has_the_bits_that_a_fresh_generator_gives_it(pack: Path) -> None:
    text = stages_pb2.PromptSegment(text=LONG)
    async with opened(pack, dtype="int8", deterministic=True) as stage:
        answer = await ask(stage, request(prompt=[text], seed=3, want=["text"]))
        read_again = stages_pb2.PromptSegment(tokens=stages_pb2.TokenIds(ids=answer.ids))
        later = request(prompt=[text, read_again, text], seed=4, want=["text", "image"])
        second_turn = await ask(stage, later)
    async with opened(pack, dtype="int8", deterministic=True) as stage:
        fresh = await ask(stage, later)
    assert same(second_turn, fresh)
    assert second_turn.usage.cached_tokens > fresh.usage.cached_tokens == 0


@pytest.mark.parametrize("scale", [0.25, -0.125])
def test_numbers_that_four_bits_hold_stay_as_they_are(scale: float) -> None:
    q = torch.arange(4 * 64).view(4, 64) % 16
    for least in (-0.5, -8 * scale):
        matrix = q * scale + least
        blocks = to_blocks(matrix.float(), 8)
        assert blocks.bits == 4
        assert torch.equal(blocks.floats(), matrix.float())


def test_eight_bits_cost_little() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(64, 256)
    assert distance(to_blocks(matrix, 8).floats(), matrix) < 0.012
    assert distance(to_blocks(matrix, 4).floats(), matrix) < 0.1
