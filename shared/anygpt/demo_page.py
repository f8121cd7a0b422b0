"""The page that shows a conversation and plays its media."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1f }
h1 { font-size: 1.5rem } h2 { font-size: 1rem; color: #667; margin-top: 2.5rem; font-weight: 600 }
.asked, .said { padding: .8rem 1rem; border-radius: .8rem; margin: .5rem 0; white-space: pre-wrap }
.asked { background: #e8eefc; margin-left: 4rem } .said { background: #f3f3f5; margin-right: 4rem }
img, video { width: 16rem; border-radius: .5rem; display: block } audio { width: 100%; display: block }
small { color: #889 }
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """One turn as the page shows it: pairs of modality and text or file name."""

    title: str
    asked: list[tuple[str, str]]
    said: list[tuple[str, str]]
    first_s: float
    all_s: float


def write_page(folder: Path, turns: list[Shown]) -> Path:
    """Write index.html beside the media it shows."""
    body = "".join(_turn(turn) for turn in turns)
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8><title>A conversation of five modalities</title>"
        f"<style>{_STYLE}</style><h1>A conversation of five modalities</h1>{body}</html>"
    )
    path = folder / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def _turn(turn: Shown) -> str:
    asked = "".join(_piece(*piece) for piece in turn.asked)
    said = "".join(_piece(*piece) for piece in turn.said)
    return (
        f"<h2>{escape(turn.title)}</h2><div class=asked>{asked}</div><div class=said>{said}</div>"
        f"<small>first piece after {turn.first_s:.2f} s, all after {turn.all_s:.2f} s</small>"
    )


def _piece(modality: str, content: str) -> str:
    source = escape(content, quote=True)
    if modality == "image":
        return f'<img src="{source}" alt="">'
    if modality == "video":
        return f'<video src="{source}" controls loop autoplay muted></video>'
    if modality in ("speech", "audio"):
        return f'<audio src="{source}" controls></audio>'
    return f"<div>{escape(content)}</div>"
