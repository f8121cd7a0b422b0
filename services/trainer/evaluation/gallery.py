"""A gallery: what was asked beside what came, pictures, players and spectrograms on one page without other files."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anygpt.client import Media, Piece
from services.trainer.evaluation.files import Samples, read_sound
from services.trainer.evaluation.run import Shown

Numbers = NDArray[np.float64]
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1f }
h1 { font-size: 1.6rem } h2 { font-size: 1.05rem; margin: 2.5rem 0 .5rem; border-bottom: 1px solid #dde }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: 1rem }
.card { background: #f6f6f8; border-radius: .8rem; padding: .8rem } .asked { color: #445; margin-bottom: .5rem }
img, video { width: 100%; border-radius: .5rem; display: block; margin: .3rem 0 } audio { width: 100% }
.given { width: 40% } p { margin: .3rem 0 }
"""
_TYPES = {"image": "image/png", "video": "video/mp4", "speech": "audio/wav", "audio": "audio/wav"}


def write_gallery(path: Path, title: str, shown: Sequence[Shown]) -> None:
    """Write the page."""
    rows = "".join(
        f"<h2>{escape(name)}</h2><div class=grid>{''.join(map(_card, group))}</div>"
        for name, group in groupby(shown, key=lambda one: one.row)
    )
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>"
        f"<h1>{escape(title)}</h1>{rows}</html>"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _card(shown: Shown) -> str:
    given = "".join(_given(piece) for turn in shown.question.turns for piece in turn.pieces)
    text = f"<p>{escape(shown.reply.text)}</p>" if shown.reply.text else ""
    media = "".join(_media(modality, data) for modality, data in shown.reply.files.items())
    return f"<div class=card><div class=asked>{given}</div>{text}{media}</div>"


def _given(piece: Piece) -> str:
    if isinstance(piece, str):
        return f"<p><b>{escape(piece)}</b></p>"
    assert isinstance(piece, Media)
    assert isinstance(piece.source, bytes)
    return f"<div class=given>{_media(piece.modality or 'image', piece.source)}</div>"


def _media(modality: str, data: bytes) -> str:
    source = _url(_TYPES[modality], data)
    if modality == "image":
        return f'<img src="{source}" alt="">'
    if modality == "video":
        return f'<video src="{source}" controls loop autoplay muted></video>'
    picture = _url("image/png", _spectrogram(read_sound(data)))
    return f'<audio src="{source}" controls></audio><img src="{picture}" alt="spectrogram">'


def _url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _spectrogram(samples: Samples) -> bytes:
    """Loudness of 128 bands up to 8 kHz over time, dark to bright."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples, 512), 1024)[::256] * np.hanning(1024)
    power = np.abs(np.fft.rfft(frames, axis=1))[:, :512].reshape(len(frames), 128, 4).mean(axis=2)
    level = np.clip((np.log10(power + 1e-5) + 3.5) / 5, 0, 1).T[::-1]
    colours = np.stack(list(_channels(level)), axis=-1)
    buffer = io.BytesIO()
    Image.fromarray((colours * 255).astype(np.uint8)).resize((512, 128)).save(buffer, "PNG")
    return buffer.getvalue()


def _channels(
    level: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> Iterator[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    yield level**0.8
    yield level**2
    yield 0.35 * np.sin(np.pi * level) + 0.25 * level**4
