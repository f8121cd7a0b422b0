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
from anygpt.whole import write_whole
from anygpt_models.output import Sound, encode
from services.trainer.evaluation.asking import Question
from services.trainer.evaluation.files import SAMPLE_RATE, UNDECODABLE, Samples, read_sound
from services.trainer.evaluation.judgement import Reply
from services.trainer.evaluation.run import Shown

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
.about { color: var(--soft); font-size: .85rem; text-align: right; margin-bottom: .5rem }
img, video { width: 100%; border-radius: .5rem; display: block; margin: .3rem 0 } audio { width: 100%; height: 2.2rem }
.asked img, .asked video { max-width: 9rem } .card > img, .card > video { max-width: 13rem } p { margin: .2rem 0 }
"""
_LEAD = (
    "Questions of the evaluation with what came of them, not chosen by how well they went: the first of each row, "
    "failures with their reason. A tick is the judgement of a judge that shares no weights with the pack; where none "
    "says yes or no there is no mark. Blue is what was asked, grey what that shows or says."
)
_PLAY = """
if (!matchMedia("(prefers-reduced-motion: reduce)").matches)
  for (const video of document.querySelectorAll("video")) video.play().catch(() => {})
"""
"""Videos move by themselves only for those who have not asked for stillness."""


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
        f"<h1>{escape(title)}</h1><p class=lead>{_LEAD}</p>{rows}<script>{_PLAY}</script></html>"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page)


def _card(shown: Shown) -> str:
    reply, about = shown.reply, _about(shown.question)
    asked = "".join(
        f"<div class=asked>{''.join(_given(piece, about) for piece in turn.pieces)}</div>"
        for turn in shown.question.turns
    )
    media = "".join(_media(name, data, f"{name} in answer to: {about}") for name, data in reply.files.items())
    text = f"<p>{escape(reply.text)}</p>" if reply.text else ""
    return (
        f"<div class=card>{asked}{_caption(shown.question)}{_mark(shown.is_right)}{text}{media}"
        f"{_failure(reply)}</div>"
    )


def _about(question: Question) -> str:
    """What was asked in words, for those who do not see or hear it."""
    return question.about or " ".join(_texts(question))


def _texts(question: Question) -> list[str]:
    return [piece for turn in question.turns for piece in turn.pieces if isinstance(piece, str)]


def _caption(question: Question) -> str:
    """What a question shows or says, where its own words do not tell."""
    if question.about in ("", *_texts(question)):
        return ""
    return f"<p class=about>{escape(question.about)}</p>"


def _mark(is_right: bool | None) -> str:
    if is_right is None:
        return ""
    kind, name, sign = ("good", "right", "&#10003;") if is_right else ("bad", "wrong", "&#10007;")
    return f'<span class="mark {kind}" role=img aria-label={name}>{sign}</span>'


def _failure(reply: Reply) -> str:
    if not reply.failure and (reply.text or reply.files):
        return ""
    return f"<p class=bad>{escape(reply.failure or 'Nothing came.')}</p>"


def _given(piece: Piece, about: str) -> str:
    if isinstance(piece, str):
        return f"<p>{escape(piece)}</p>"
    assert isinstance(piece, Media)
    assert isinstance(piece.source, bytes)
    modality = piece.modality or "image"
    return _media(modality, piece.source, f"{modality} that was asked about: {about}")


def _media(modality: str, data: bytes, label: str) -> str:
    """A medium with words for those who do not see or hear it; one that no player could play says so."""
    try:
        return _player(modality, data, escape(label))
    except UNDECODABLE:
        return f"<p class=bad>This {escape(modality)} cannot be decoded.</p>"


def _player(modality: str, data: bytes, label: str) -> str:
    if modality == "image":
        with Image.open(io.BytesIO(data)) as picture:
            return f'<img src="{_picture(picture)}" alt="{label}" loading=lazy>'
    if modality == "video":
        return f'<video src="{_url("video/mp4", data)}" aria-label="{label}" controls loop muted playsinline></video>'
    samples = read_sound(data)
    sound = _url("audio/ogg", encode(Sound(samples, SAMPLE_RATE), "ogg")[0])
    return (
        f'<audio src="{sound}" aria-label="{label}" controls></audio>'
        f'<img src="{_spectrogram(samples)}" alt="spectrogram: {label}" loading=lazy>'
    )


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
