"""Media opened apart: the same functions as in this package, in a child process that may die of what it reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from anygpt.metrics import MEDIA_SECONDS
from anygpt.sandbox import Died, Facts, Operation, Overstayed, Sandbox
from anygpt.settings import LimitSettings
from anygpt.topology import Modality
from anygpt_models.input import refusal
from anygpt_models.input.clips import Clips
from anygpt_models.input.fit import Fit
from anygpt_models.input.image import open_image
from anygpt_models.input.probe import MediaFacts, probe_claimed
from anygpt_models.input.source import Source
from anygpt_models.input.video import Viewing, open_video
from anygpt_models.input.waveform import Hearing, open_waveform

T = TypeVar("T")
Number = TypeVar("Number", bound=np.generic)


class MediaReader:
    """Reads media in a sandbox; blocks. Raises the reasons in `refusal`."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def warm(self) -> None:
        """Have the children load what they read with, so that the first media wait for none; does not wait itself."""
        self._sandbox.warm(__name__)

    def facts(self, source: Source, media_type: str, modality: Modality) -> MediaFacts:
        """See `probe_claimed`."""
        return self._run(facts, source, {"media_type": media_type, "modality": modality}, _facts)

    def image(self, source: Source, fit: Fit) -> NDArray[np.uint8]:
        """Pixels [size, size, 3]; see `open_image`."""
        return self._run(image, source, {"fit": asdict(fit)}, partial(_array, np.uint8))

    def video(self, source: Source, viewing: Viewing, fit: Fit) -> NDArray[np.uint8]:
        """Frames [C, T, size, size, 3]; see `open_video`."""
        asked = {"viewing": asdict(viewing), "fit": asdict(fit)}
        return self._run(video, source, asked, partial(_array, np.uint8))

    def waveform(self, source: Source, hearing: Hearing) -> NDArray[np.float32]:
        """Samples [S]; see `open_waveform`."""
        return self._run(waveform, source, {"hearing": asdict(hearing)}, partial(_array, np.float32))

    def _run(
        self, operation: Operation, source: Source, asked: Facts, read: Callable[[dict[str, Any], bytes], T]
    ) -> T:
        began, outcome = time.perf_counter(), "refused"
        path = str(source.data) if isinstance(source.data, Path) else ""
        data = b"" if isinstance(source.data, Path) else source.data
        sent = {**asked, "path": path, "field": source.field, "limits": source.limits.model_dump()}
        try:
            answer = read(*self._sandbox.run(operation, sent, data))
            outcome = "read"
        except Died as error:
            outcome = "died"
            raise refusal.unreadable(source.field) from error
        except Overstayed as error:
            outcome = "overstayed"
            raise refusal.too_slow(source.field) from error
        finally:
            MEDIA_SECONDS.labels(outcome).observe(time.perf_counter() - began)
        return answer


def facts(asked: dict[str, Any], data: bytes) -> tuple[Facts, bytes]:
    """In the child: what a file is."""
    return asdict(probe_claimed(_source(asked, data), asked["media_type"], asked["modality"])), b""


def image(asked: dict[str, Any], data: bytes) -> tuple[Facts, bytes]:
    """In the child: a picture, fitted."""
    return _told(Fit(**asked["fit"])(open_image(_source(asked, data))))


def video(asked: dict[str, Any], data: bytes) -> tuple[Facts, bytes]:
    """In the child: frames, fitted."""
    viewing = asked["viewing"]
    return _told(
        open_video(
            _source(asked, data),
            Viewing(**{**viewing, "clips": Clips(**viewing["clips"])}),
            Fit(**asked["fit"]),
        )
    )


def waveform(asked: dict[str, Any], data: bytes) -> tuple[Facts, bytes]:
    """In the child: samples."""
    return _told(open_waveform(_source(asked, data), Hearing(**asked["hearing"])))


def _source(asked: dict[str, Any], data: bytes) -> Source:
    return Source(
        Path(asked["path"]) if asked["path"] else data, LimitSettings(**asked["limits"]), asked["field"]
    )


def _told(array: NDArray[Any]) -> tuple[Facts, bytes]:
    return {"shape": array.shape}, np.ascontiguousarray(array).tobytes()


def _facts(told: dict[str, Any], _: bytes) -> MediaFacts:
    """The facts of an answer; an answer that does not add up is a child gone wrong."""
    try:
        return MediaFacts(**{**told, "modalities": tuple(told["modalities"])})
    except (TypeError, LookupError) as error:
        raise Died("the facts are none") from error


def _array(dtype: type[Number], told: dict[str, Any], data: bytes) -> NDArray[Number]:
    """The array of an answer."""
    try:
        return np.frombuffer(data, dtype).reshape(told["shape"]).copy()
    except (ValueError, TypeError, LookupError) as error:
        raise Died("the array does not add up") from error
