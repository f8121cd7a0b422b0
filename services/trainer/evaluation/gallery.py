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
from anygpt_models.output import Sound, encode
from services.trainer.evaluation.files import SAMPLE_RATE, Samples, read_sound
from services.trainer.evaluation.run import Shown
from services.trainer.whole import write_whole

Numbers = NDArray[np.float64]
_STYLE = """
:root { color-scheme: light dark; --card: #f4f4f8; --line: #d8d8e2; --soft: #667; --you: #dfe8ff }
:root { --good: #1a7f37; --bad: #b3261e }
@media (prefers-color-scheme: dark) {
  :root { --card: #1f2027; --line: #3a3b45; --soft: #9a9cab; --you: #2b3760; --good: #5fd38a; --bad: #ff8a80 }
}
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.7rem; margin-bottom: .2rem } .lead { color: var(--soft); max-width: 46rem }
h2 { font-size: 1.05rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid var(--line) }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .9rem; align-items: start }
.card { background: var(--card); border-radius: .8rem; padding: .7rem }
.asked { background: var(--you); border-radius: .6rem; padding: .4rem .6rem; margin: 0 0 .5rem 12% }
.mark { float: right; font-weight: 600 } .good { color: var(--good) } .bad { color: var(--bad) }
img, video { width: 100%; border-radius: .5rem; display: block; margin: .3rem 0 } audio { width: 100%; height: 2.2rem }
.asked img, .asked video { max-width: 9rem } .card > img, .card > video { max-width: 13rem } p { margin: .2rem 0 }
"""
_LEAD = (
    "Questions of the evaluation with what came of them, not chosen by how well they went: the first of each row. "
    "A tick is the judgement of a judge that shares no weights with the pack. Blue is what was asked."
)


def write_gallery(path: Path, title: str, shown: Sequence[Shown]) -> None:
    """Write the page."""
    rows = "".join(
        f"<h2>{escape(name)}</h2><div class=grid>{''.join(map(_card, group))}</div>"
        for name, group in groupby(shown, key=lambda one: one.row)
    )
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
        f"<h1>{escape(title)}</h1><p class=lead>{_LEAD}</p>{rows}</html>"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page)


def _card(shown: Shown) -> str:
    asked = "".join(
        f"<div class=asked>{''.join(map(_given, turn.pieces))}</div>" for turn in shown.question.turns
    )
    text = f"<p>{escape(shown.reply.text)}</p>" if shown.reply.text else ""
    media = "".join(_media(modality, data) for modality, data in shown.reply.files.items())
    return f"<div class=card>{asked}{_mark(shown.is_right)}{text}{media}</div>"


def _mark(is_right: bool | None) -> str:
    if is_right is None:
        return ""
    return "<span class='mark good'>&#10003;</span>" if is_right else "<span class='mark bad'>&#10007;</span>"


def _given(piece: Piece) -> str:
    if isinstance(piece, str):
        return f"<p>{escape(piece)}</p>"
    assert isinstance(piece, Media)
    assert isinstance(piece.source, bytes)
    return _media(piece.modality or "image", piece.source)


def _media(modality: str, data: bytes) -> str:
    if modality == "image":
        with Image.open(io.BytesIO(data)) as picture:
            return f'<img src="{_picture(picture)}" alt="" loading=lazy>'
    if modality == "video":
        return f'<video src="{_url("video/mp4", data)}" controls loop autoplay muted></video>'
    samples = read_sound(data)
    sound = _url("audio/ogg", encode(Sound(samples, SAMPLE_RATE), "ogg")[0])
    return f'<audio src="{sound}" controls></audio><img src="{_spectrogram(samples)}" alt="spectrogram" loading=lazy>'


def _picture(picture: Image.Image) -> str:
    """A picture as a small file of its own: a page has hundreds."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "WEBP", quality=80)
    return _url("image/webp", buffer.getvalue())


def _url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _spectrogram(samples: Samples) -> str:
    """Loudness of 128 bands up to 8 kHz over time, dark to bright."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples, 512), 1024)[::256] * np.hanning(1024)
    power = np.abs(np.fft.rfft(frames, axis=1))[:, :512].reshape(len(frames), 128, 4).mean(axis=2)
    level = np.clip((np.log10(power + 1e-5) + 3.5) / 5, 0, 1).T[::-1]
    colours = np.stack(list(_channels(level)), axis=-1)
    return _picture(Image.fromarray((colours * 255).astype(np.uint8)).resize((320, 96)))


def _channels(
    level: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> Iterator[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    yield level**0.8
    yield level**2
    yield 0.35 * np.sin(np.pi * level) + 0.25 * level**4
