"""What a request may ask of the drawing of tokens, checked at every door that takes it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from anygpt.errors import InvalidInput
from anygpt.topology import MODALITY_NAMES, TEXT, Modality
from anygpt.v1 import types_pb2

MOST_STOPS: Final = 4
MOST_STOP_LENGTH: Final = 64
"""Characters."""
RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "temperature": (0, 2),
    "top_p": (math.ulp(0), 1),
    "top_k": (0, 2**31),
    "min_p": (0, 1),
    "repetition_penalty": (0.5, 2),
    "max_tokens": (1, 2**31),
}
"""Smallest and largest value of each field."""


def check_sampling(sampling: types_pb2.Sampling, modality: Modality, field: str) -> None:
    """Raise InvalidInput naming the first value, as `<field>.<name>`, that is out of range."""
    for name, (least, most) in RANGES.items():
        # NaN compares false with everything, so the test is for what is allowed.
        if sampling.HasField(name) and not least <= getattr(sampling, name) <= most:  # type: ignore[arg-type]
            allowed = f"(0, {most}]" if 0 < least < 0.5 else f"[{least}, {most}]"
            raise InvalidInput(
                f"{name} lies outside {allowed}", reason="OUT_OF_BOUNDS", field=f"{field}.{name}"
            )
    if sampling.stop and modality != TEXT:
        raise InvalidInput(
            f"{MODALITY_NAMES[modality]} has no stop texts", reason="OPTION_UNKNOWN", field=f"{field}.stop"
        )
    if len(sampling.stop) > MOST_STOPS or any(
        not 0 < len(stop) <= MOST_STOP_LENGTH for stop in sampling.stop
    ):
        raise InvalidInput(
            f"at most {MOST_STOPS} stop texts of 1 to {MOST_STOP_LENGTH} characters",
            reason="OUT_OF_BOUNDS",
            field=f"{field}.stop",
        )
