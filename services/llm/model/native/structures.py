"""The structures of `llama.cpp`, field by field."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_double, c_int64, c_void_p

import torch

UPDATES = 4
"""Low-rank updates of a layer: queries, keys, values, output."""


class Matrix(Structure):
    """A matrix in tiles of blocks."""

    _fields_ = (("tiles", c_void_p), ("rows", c_int64), ("columns", c_int64), ("bits", c_int64))


class Layer(Structure):
    """Weights and cache of one layer."""

    _fields_ = (
        ("before_attention", c_void_p),
        ("before_mlp", c_void_p),
        ("qkv_bias", c_void_p),
        ("qkv", Matrix),
        ("o", Matrix),
        ("gate_up", Matrix),
        ("down", Matrix),
        ("keys", c_void_p),
        ("values", c_void_p),
    )


class Model(Structure):
    """Sizes and weights of the whole model."""

    _fields_ = (
        ("hidden", c_int64),
        ("inner", c_int64),
        ("layers", c_int64),
        ("heads", c_int64),
        ("kv_heads", c_int64),
        ("width", c_int64),
        ("epsilon", c_double),
        ("norm", c_void_p),
        ("cosines", c_void_p),
        ("sines", c_void_p),
        ("layer", POINTER(Layer)),
        ("head", Matrix),
    )


class Update(Structure):
    """One low-rank update."""

    _fields_ = (
        ("a", c_void_p),
        ("b", c_void_p),
        ("in", c_int64),
        ("rank", c_int64),
        ("first", c_int64),
        ("out", c_int64),
    )


class Step(Structure):
    """The rows of one step."""

    _fields_ = (
        ("rows", c_int64),
        ("written", c_int64),
        ("positions", c_void_p),
        ("sequences", c_void_p),
        ("tables", c_void_p),
        ("table_width", c_int64),
        ("adapters", c_void_p),
    )


def pointer(tensor: torch.Tensor | None) -> int | None:
    """Where a contiguous tensor lies; the caller keeps it alive."""
    if tensor is None:
        return None
    assert tensor.is_contiguous()
    return tensor.data_ptr()


def array(values: list[int]) -> ctypes.Array[ctypes.c_int32]:
    """Whole numbers as C has them."""
    return (ctypes.c_int32 * len(values))(*values)
