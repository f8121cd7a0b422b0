"""Rounded weights where the compiled step can not run: torch's own kernels, on any device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anygpt.pack import open_pack
from services.llm.model.eager import Eager, Options
from services.llm.model.loading import load_weights
from services.llm.model.rounded import product
from services.llm.step import Feed
from tests.tiny_pack import TEXT_SIZE, TinyPack, build_tiny_pack

CPU = torch.device("cpu")


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """Size of the difference beside the size of the whole."""
    return float((one.float() - other.float()).norm() / other.float().norm())


@pytest.mark.parametrize(("bits", "most"), [(0, 0.003), (8, 0.012), (4, 0.1)])
def test_a_product_is_close_to_that_of_the_matrix(bits: int, most: float) -> None:
    torch.manual_seed(0)
    matrix, rows = torch.randn(96, 128), torch.randn(5, 128)
    bias = torch.randn(96)
    out = product(matrix.bfloat16(), bits, bias.bfloat16())(rows.bfloat16())
    assert distance(out, rows.bfloat16().float() @ matrix.bfloat16().float().T + bias) < most


def test_a_row_of_zeros_stays_zero() -> None:
    matrix = torch.zeros(32, 64, dtype=torch.bfloat16)
    for bits in (8, 4):
        assert not product(matrix, bits)(torch.ones(2, 64, dtype=torch.bfloat16)).any()


@pytest.mark.parametrize(("bits", "most"), [(8, 0.12), (4, 0.8)])
@pytest.mark.parametrize("biases", [False, True])
def test_a_rounded_model_is_close_to_the_whole_one(
    tmp_path: Path, bits: int, most: float, biases: bool
) -> None:
    folder = build_tiny_pack(tmp_path / "pack", TinyPack(biases=biases, adapter=False))
    weights = load_weights(open_pack(str(folder)), tmp_path)
    ids = [(7 * n) % TEXT_SIZE for n in range(9)]
    outs = []
    for dtype, rounded in ((torch.float32, 0), (torch.bfloat16, bits)):
        network = Eager(weights, {}, Options(8, 16, dtype, CPU, False, rounded))
        outs.append(network.forward(network.embed(ids), [Feed([2], 0, ids)])[:1])
    assert distance(outs[1], outs[0]) < most
