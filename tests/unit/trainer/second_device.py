"""A second device in software: tensors that live there are real, but nothing mixes with those of the processors.

A machine without an accelerator can so be asked what one would refuse: a tensor made on the wrong device, data that
were never put there, an array taken from it without a copy. Home is told by storage, so views share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

ELSEWHERE = torch.device("cuda", 0)
HERE = torch.device("cpu")
_ON_ACCELERATOR: Any = torch.Tensor.is_cuda
_DATA: Any = torch.Tensor.data


class SecondDevice(TorchFunctionMode):
    """Inside it, `ELSEWHERE` is a device; a call that mixes devices raises RuntimeError, as a real one does."""

    def __init__(self) -> None:
        super().__init__()
        self._homes: dict[int, torch.device] = {}
        self.made: set[torch.device] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """One call of torch, on the device that its tensors or its `device` name."""
        kwargs = dict(kwargs or {})
        if func is torch.device:
            return func(*args, **kwargs)
        if func == torch.Tensor.device.__get__:
            return self.home(args[0])
        if func == _ON_ACCELERATOR.__get__:
            return self.home(args[0]) == ELSEWHERE
        homes = self._homes_of((args, kwargs), func)
        wanted = self._wanted(func, args, kwargs)
        if func is torch.Tensor.numpy and homes == {ELSEWHERE}:
            raise TypeError("an array can be taken from the processors' memory only")
        if func is torch.Tensor.cpu:
            wanted = HERE
        if func in _PLACES and self.home(args[0]) == ELSEWHERE:
            homes = {ELSEWHERE}  # places and values may come from the processors
        if len(homes) > 1 and func not in _COPIES:
            raise RuntimeError(f"{getattr(func, '__name__', func)}: tensors on {sorted(map(str, homes))}")
        if wanted is not None and func in _device_constructors():
            kwargs["device"] = HERE
        found = func(*_grounded(args), **{name: _grounded(value) for name, value in kwargs.items()})
        home = wanted or (self.home(args[0]) if func in _COPIES else next(iter(homes), HERE))
        if wanted and homes - {wanted} and isinstance(found, Tensor) and _shares(found, args):
            found = found.clone()
        self._settle(found, home)
        return found

    def home(self, tensor: Tensor) -> torch.device:
        """Where a tensor lives."""
        with torch._C.DisableTorchFunction():
            return self._homes.get(tensor.untyped_storage()._cdata, HERE)

    def _homes_of(self, values: Any, func: Any) -> set[torch.device]:
        """Homes of all tensors but scalars, which go anywhere."""
        with torch._C.DisableTorchFunction():
            shaped = [tensor for tensor in _tensors(values) if tensor.dim() or func in _COPIES]
            tensors = shaped or list(_tensors(values))
        return {self.home(tensor) for tensor in tensors}

    def _wanted(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> torch.device | None:
        named = [value for value in (*args[1:], *kwargs.values()) if isinstance(value, torch.device)]
        if func is torch.Tensor.to:
            named += [self.home(value) for value in args[1:2] if isinstance(value, Tensor)]
        named += [torch.device(value) for value in (kwargs.get("device"),) if isinstance(value, str)]
        if not named and func in _device_constructors():
            named = [torch.get_default_device()]
        if not named:
            return None
        return ELSEWHERE if named[0].type == ELSEWHERE.type else HERE

    def _settle(self, found: Any, home: torch.device) -> None:
        with torch._C.DisableTorchFunction():
            for tensor in _tensors(found):
                self._homes[tensor.untyped_storage()._cdata] = home
        self.made.add(home)


def carry(module: nn.Module) -> None:
    """Put a module that was made on the processors on the device in force, as `to` does on a real one."""
    kept: dict[int, nn.Parameter] = {}
    for part in module.modules():
        for name, weight in list(part.named_parameters(recurse=False)):
            moved = kept.setdefault(id(weight), nn.Parameter(weight.detach().to(ELSEWHERE).clone()))
            setattr(part, name, moved.requires_grad_(weight.requires_grad))
        for name, values in list(part.named_buffers(recurse=False)):
            setattr(part, name, values.to(ELSEWHERE).clone())


def _grounded(value: Any) -> Any:
    """The same call, made on the processors."""
    if isinstance(value, torch.device):
        return HERE
    if isinstance(value, str) and value.startswith("cuda"):
        return "cpu"
    if type(value) in (tuple, list):
        return type(value)(map(_grounded, value))
    return value


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, (tuple, list)):
        for inner in value:
            yield from _tensors(inner)


def _shares(found: Tensor, args: tuple[Any, ...]) -> bool:
    with torch._C.DisableTorchFunction():
        mine = found.untyped_storage()._cdata
        return any(tensor.untyped_storage()._cdata == mine for tensor in _tensors(args))


_PLACES = (torch.Tensor.__getitem__, torch.Tensor.__setitem__)
_COPIES: tuple[Callable[..., Any], ...] = (torch.Tensor.copy_, torch.Tensor.to, _DATA.__set__)
"""What may take from one device and give to another."""
