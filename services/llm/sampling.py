"""How tokens are drawn in the spans of each modality: the request's values over the pack's defaults."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anygpt.errors import InvalidInput, Unserved
from anygpt.pack import OutputEntry
from anygpt.topology import TEXT, Modality
from anygpt.v1 import types_pb2

MOST_STOPS = 4
MOST_STOP_LENGTH = 64
RANGES: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (math.ulp(0), 1),
    "top_k": (0, 2**31),
    "min_p": (0, 1),
    "repetition_penalty": (0.5, 2),
    "max_tokens": (1, 2**31),
}
"""Smallest and largest value of each field."""


@dataclass(frozen=True, slots=True)
class SpanSampling:
    """The values that hold within the spans of one modality."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float
    max_tokens: int
    stop: tuple[str, ...] = ()


def read_sampling(
    entries: Sequence[types_pb2.ModalitySampling], outputs: Mapping[Modality, OutputEntry]
) -> dict[Modality, SpanSampling]:
    """The sampling of every modality that can come out. Raises InvalidInput for a value out of range, by field."""
    given: dict[Modality, types_pb2.Sampling] = {}
    for index, entry in enumerate(entries):
        field = f"sampling[{index}]"
        if entry.modality not in outputs:
            raise Unserved("this pack does not make that modality", field=f"{field}.modality")
        if entry.modality in given:
            raise InvalidInput("the modality has sampling values twice", field=f"{field}.modality")
        _check(entry, field)
        given[entry.modality] = entry.sampling
    empty = types_pb2.Sampling()
    return {modality: _merge(given.get(modality, empty), output) for modality, output in outputs.items()}


def _check(entry: types_pb2.ModalitySampling, field: str) -> None:
    for name, (least, most) in RANGES.items():
        # NaN compares false with everything, so the test is for what is allowed.
        if entry.sampling.HasField(name) and not least <= getattr(entry.sampling, name) <= most:  # type: ignore[arg-type]
            raise InvalidInput(
                f"{name} is out of range", reason="SAMPLING_OUT_OF_RANGE", field=f"{field}.{name}"
            )
    stops = entry.sampling.stop
    if stops and entry.modality != TEXT:
        raise InvalidInput("only text has stop strings", field=f"{field}.stop")
    if len(stops) > MOST_STOPS or any(not 0 < len(stop) <= MOST_STOP_LENGTH for stop in stops):
        raise InvalidInput(
            f"at most {MOST_STOPS} stop strings of 1 to {MOST_STOP_LENGTH} characters", field=f"{field}.stop"
        )


def _merge(given: types_pb2.Sampling, output: OutputEntry) -> SpanSampling:
    default = output.sampling

    def value(name: str) -> float:
        return float(getattr(given if given.HasField(name) else default, name))  # type: ignore[arg-type]

    return SpanSampling(
        temperature=value("temperature"),
        top_p=value("top_p"),
        top_k=int(value("top_k")),
        min_p=value("min_p"),
        repetition_penalty=value("repetition_penalty"),
        max_tokens=int(value("max_tokens")),
        stop=tuple(given.stop),
    )
