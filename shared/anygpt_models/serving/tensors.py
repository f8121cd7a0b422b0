"""Numbers on the wire: arrays to `Tensor`, and back with nothing taken on trust."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anygpt.errors import InvalidInput
from anygpt.v1 import types_pb2

_TYPES: Final[dict[str, np.dtype[Any]]] = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}


def to_tensor(array: NDArray[Any]) -> types_pb2.Tensor:
    """An array as float16, little endian."""
    data = np.ascontiguousarray(array, dtype="<f2")
    return types_pb2.Tensor(dtype="float16", shape=data.shape, data=data.tobytes())


def to_array(tensor: types_pb2.Tensor, shape: Sequence[int], field: str) -> NDArray[np.float32]:
    """A tensor of exactly `shape`, finite. Raises InvalidInput naming the part of `field` that is wrong."""
    kind = _TYPES.get(tensor.dtype)
    if kind is None:
        raise InvalidInput("a tensor is float16 or float32", field=f"{field}.dtype")
    if list(tensor.shape) != list(shape):
        raise InvalidInput(f"the tensor's shape is not {list(shape)}", reason="SHAPE", field=f"{field}.shape")
    if len(tensor.data) != int(np.prod(shape)) * kind.itemsize:
        raise InvalidInput("the tensor's data do not fit its shape", reason="SHAPE", field=f"{field}.data")
    array: NDArray[np.float32] = np.frombuffer(tensor.data, dtype=kind).reshape(shape).astype(np.float32)
    if not np.isfinite(array).all():
        raise InvalidInput("the tensor holds infinities or no numbers", field=f"{field}.data")
    return array
