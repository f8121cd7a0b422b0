"""Pieces of sound that can be played before the file is finished."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from anygpt.v1 import anygpt_service_pb2, stages_pb2

MEDIA_TYPE = "audio/pcm"
PIECE_S = 1.0


def pieces(
    samples: NDArray[np.float32], sample_rate: int, first_index: int = 0
) -> Iterator[stages_pb2.DecodeResponse]:
    """Samples [S] in -1..1 as chunks of at most a second, 16-bit little-endian PCM, numbered from `first_index`."""
    length = round(PIECE_S * sample_rate)
    for place in range(0, len(samples), length):
        chunk = anygpt_service_pb2.MediaChunk(
            data=pcm(samples[place : place + length]), media_type=MEDIA_TYPE,
            index=first_index + place // length, sample_rate=sample_rate,
        )  # fmt: skip
        yield stages_pb2.DecodeResponse(chunk=chunk)


def pcm(samples: NDArray[np.float32]) -> bytes:
    """Samples in -1..1 as 16-bit little-endian PCM."""
    return np.rint(np.clip(samples, -1.0, 1.0) * 32767).astype("<i2").tobytes()
