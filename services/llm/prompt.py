"""Reads the segments of a prompt: everything becomes positions, each a vocabulary id or a vector."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anygpt.errors import InvalidInput, Unserved
from anygpt.pack import InputEntry, Pack
from anygpt.topology import MODALITY_NAMES, Modality
from anygpt.v1 import stages_pb2, types_pb2
from services.llm.step import Vectors
from services.llm.tokeniser import Tokeniser

DTYPES: Mapping[str, np.dtype[Any]] = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}

LARGEST = 1e15
"""Of an embedding's numbers: the sum of their squares is still finite."""

Project = Callable[[Modality, Vectors], Awaitable[Vectors]]


@dataclass(frozen=True, slots=True)
class Prompt:
    """Positions in order."""

    keys: Sequence[int]
    """Vocabulary ids; a negative number is the fingerprint of a vector: equal keys mean equal content."""
    vectors: Mapping[int, Vectors]
    """Embeddings by position, each [hidden]."""


class PromptReader:
    """Checks and reads prompts for one pack."""

    def __init__(self, pack: Pack, tokeniser: Tokeniser) -> None:
        self._vocabulary = pack.vocabulary
        self._inputs = pack.inputs
        self._tokeniser = tokeniser

    async def read(self, segments: Sequence[stages_pb2.PromptSegment], project: Project) -> Prompt:
        """All segments as one prompt; `project` turns features into embeddings once every segment was checked.

        Raises InvalidInput or Unserved with the segment's field.
        """
        if not segments:
            raise InvalidInput("the prompt is empty", field="prompt")
        pieces = [self._piece(segment, f"prompt[{index}]") for index, segment in enumerate(segments)]
        keys: list[int] = []
        vectors: dict[int, Vectors] = {}
        for index, piece in enumerate(pieces):
            if isinstance(piece, list):
                keys += piece
                continue
            modality, features = piece
            brackets = self._vocabulary.brackets[modality]
            rows = await project(modality, features)
            if not (np.abs(rows) <= LARGEST).all():
                raise InvalidInput(
                    "the features are too large",
                    reason="FEATURES_OUT_OF_RANGE",
                    field=f"prompt[{index}].features",
                )
            keys.append(brackets.begin)
            vectors |= {len(keys) + index: row for index, row in enumerate(rows)}
            keys += [_fingerprint(row) for row in rows]
            keys.append(brackets.end)
        return Prompt(keys, vectors)

    def _piece(self, segment: stages_pb2.PromptSegment, field: str) -> list[int] | tuple[Modality, Vectors]:
        kind = segment.WhichOneof("content")
        if kind == "text":
            return self._tokeniser.encode(segment.text)
        if kind == "tokens":
            return self._tokens(segment.tokens.ids, f"{field}.tokens")
        if kind == "codes":
            return self._codes(segment.codes, f"{field}.codes")
        if kind == "features":
            return segment.features.modality, self._features(segment.features, f"{field}.features")
        raise InvalidInput("the segment has no content", field=field)

    def _tokens(self, ids: Sequence[int], field: str) -> list[int]:
        if any(token >= self._vocabulary.size for token in ids):
            raise InvalidInput("an id lies outside the vocabulary", reason="TOKEN_OUT_OF_RANGE", field=field)
        return list(ids)

    def _codes(self, codes: types_pb2.Codes, field: str) -> list[int]:
        self._entry(codes.modality, "codes", field)
        if not codes.ids:
            raise InvalidInput("there are no codes", field=field)
        brackets = self._vocabulary.brackets[codes.modality]
        return [brackets.begin, *self._vocabulary.to_ids(codes.modality, codes.ids, field), brackets.end]

    def _features(self, features: types_pb2.Features, field: str) -> Vectors:
        entry = self._entry(features.modality, "features", field)
        tensor = features.tensor
        shape = tuple(tensor.shape)
        counts = entry.counts or ((entry.length,) if entry.length else ())
        if len(shape) != 2 or shape[1] != entry.width or not shape[0] or (counts and shape[0] not in counts):
            told = " or ".join(map(str, counts)) or "n"
            raise InvalidInput(f"features are [{told}, {entry.width}]", reason="FEATURES_SHAPE", field=field)
        dtype = DTYPES.get(tensor.dtype)
        if dtype is None or len(tensor.data) != shape[0] * shape[1] * dtype.itemsize:
            raise InvalidInput("the tensor's data does not fit its type and shape", field=field)
        vectors: Vectors = np.frombuffer(tensor.data, dtype).reshape(shape).astype(np.float32)
        if not np.isfinite(vectors).all():
            raise InvalidInput("features are finite numbers", reason="FEATURES_NOT_FINITE", field=field)
        return vectors

    def _entry(self, modality: Modality, path: str, field: str) -> InputEntry:
        entry = self._inputs.get(modality)
        if entry is None or entry.path != path:
            name = MODALITY_NAMES.get(modality, "that modality")
            raise Unserved(f"this pack does not read {name} as {path}", field=field)
        return entry


def _fingerprint(row: Vectors) -> int:
    return -1 - (int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest()) >> 1)
