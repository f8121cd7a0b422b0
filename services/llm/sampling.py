"""How tokens are drawn in the spans of each modality: the request's values over the pack's defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anygpt.errors import InvalidInput, Unserved
from anygpt.pack import OutputEntry
from anygpt.topology import Modality
from anygpt.v1 import types_pb2
from anygpt_models.serving.sampling import check_sampling


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
        check_sampling(entry.sampling, entry.modality, f"{field}.sampling")
        given[entry.modality] = entry.sampling
    empty = types_pb2.Sampling()
    return {modality: _merge(given.get(modality, empty), output) for modality, output in outputs.items()}


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
