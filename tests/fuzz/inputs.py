"""What the targets are fed: good inputs, damaged in the ways that bytes are damaged, and noise."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import cache

from hypothesis import strategies as st
from PIL import Image

from anygpt.v1 import anygpt_service_pb2, stages_pb2, types_pb2
from tests.flow.media import film, picture, sound
from tests.flow.pack import manifest
from tests.unit.input.files import plain_frames, saved, tone, video
from tests.unit.input.files import sound as encoded_sound

Edit = Callable[[bytearray, int, bytes], None]
NUMBERS = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1", b"\xff", b"\0"]
"""Lengths and counts that parsers stumble over."""


def _overwrite(data: bytearray, place: int, piece: bytes) -> None:
    data[place : place + len(piece)] = piece


def _insert(data: bytearray, place: int, piece: bytes) -> None:
    data[place:place] = piece


def _cut(data: bytearray, place: int, piece: bytes) -> None:
    del data[place : place + 1 + 16 * len(piece)]


def _repeat(data: bytearray, place: int, piece: bytes) -> None:
    data[place:place] = data[place : place + 64] * (1 + len(piece))


def _end(data: bytearray, place: int, piece: bytes) -> None:
    del data[place:]


EDITS: Sequence[Edit] = (_overwrite,) * 12 + (_insert, _insert, _cut, _repeat, _end)
LITERALS = [
    b"null",
    b"-1",
    b"0",
    b"1e999",
    b"NaN",
    b"true",
    b"[]",
    b"{}",
    b'""',
    b'"\\ud800"',
    b"9" * 30,
    b"[" * 2000,
]
"""What a JSON token may become."""
TOKEN = re.compile(rb'"[^"]*"|-?\d+(?:\.\d+)?|true|false|null')


@st.composite
def damaged(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds after a few edits; of JSON mostly of whole tokens; now and then noise instead."""
    if draw(st.integers(0, 19)) == 19:
        return draw(st.binary(max_size=2048))
    data = bytearray(draw(st.sampled_from(seeds)))
    is_text = data.startswith(b"{") and draw(st.booleans())
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3, 6]))):
        if is_text:
            _retoken(draw, data)
            continue
        reach = min(len(data), draw(st.sampled_from([64, 1024, 1 << 20, 1 << 20])))
        place = draw(st.integers(0, max(0, reach - 1)))
        piece = draw(st.binary(min_size=1, max_size=2) | st.sampled_from(NUMBERS))
        draw(st.sampled_from(EDITS))(data, place, piece)
    return bytes(data)


def _retoken(draw: st.DrawFn, data: bytearray) -> None:
    tokens = list(TOKEN.finditer(data))
    if tokens:
        start, end = draw(st.sampled_from(tokens)).span()
        data[start:end] = draw(st.sampled_from(LITERALS) | st.sampled_from([one[0] for one in tokens]))


@cache
def pictures() -> tuple[bytes, ...]:
    """Stills in the formats that people send."""
    image = Image.frombytes("RGB", (32, 24), bytes(range(256)) * 9)
    forms = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "ICO", "JPEG2000", "AVIF", "TGA")
    return (picture(), *(saved(image, form) for form in forms if form != "TGA"))


@cache
def films() -> tuple[bytes, ...]:
    """Short videos and animations."""
    frames = [Image.fromarray(frame) for frame in plain_frames(4, 32, 32)]
    animated = [
        saved(frames[0], form, save_all=True, append_images=frames[1:]) for form in ("GIF", "WEBP", "PNG")
    ]
    return (film(4), video(plain_frames(4, 32, 32)), *animated)


@cache
def sounds() -> tuple[bytes, ...]:
    """Short sounds."""
    samples = tone(0.2, 48_000)[None]
    forms = (
        ("wav", "pcm_s16le"),
        ("flac", "flac"),
        ("ogg", "libopus"),
        ("mp3", "libmp3lame"),
        ("mp4", "aac"),
    )
    return (sound(0.2), *(encoded_sound(samples, 48_000, form, codec) for form, codec in forms))


@cache
def requests() -> tuple[bytes, ...]:
    """What clients send to the gateway."""
    parts = [
        types_pb2.Part(text="hello"),
        types_pb2.Part(modality=types_pb2.MODALITY_IMAGE, inline=types_pb2.InlineMedia(data=picture())),
        types_pb2.Part(media=types_pb2.MediaRef(object="uploads/" + "0" * 64)),
        types_pb2.Part(url="https://media.example.com/a"),
    ]
    options = types_pb2.OutputOptions(modality=types_pb2.MODALITY_IMAGE, format="png", width=64)
    sampling = types_pb2.ModalitySampling(
        modality=types_pb2.MODALITY_TEXT, sampling=types_pb2.Sampling(temperature=1, stop=["x"])
    )
    made = anygpt_service_pb2.GenerateRequest(
        parts=parts,
        seed=7,
        want=[types_pb2.MODALITY_IMAGE],
        output=[options],
        sampling=[sampling],
        voice="joe",
    )
    return (made.SerializeToString(), anygpt_service_pb2.GenerateRequest(parts=parts[:1]).SerializeToString())


@cache
def work() -> tuple[bytes, ...]:
    """What stages are sent over the bus."""
    prompt = [stages_pb2.PromptSegment(text="hello there")]
    asked = stages_pb2.GenerateTokensRequest(prompt=prompt, want=[types_pb2.MODALITY_SPEECH], seed=3)
    return (asked.SerializeToString(), stages_pb2.GenerateTokensRequest(prompt=prompt).SerializeToString())


@cache
def manifests() -> tuple[bytes, ...]:
    """What a pack says of itself."""
    return (json.dumps(manifest(258)).encode(), json.dumps(manifest(258), indent=1).encode())


LINES = (
    b'{"id": 3, "parts": [{"text": "hello"}], "want": ["MODALITY_IMAGE"], "seed": "7"}',
    b'{"parts": [{"modality": "MODALITY_IMAGE", "inline": {"data": "AAAA"}}], "grace": "3s"}',
    b'{"parts": [{"text": "\\u00e9\\ud83d\\ude00"}], "output": [{"width": 64, "loudnessLufs": -14.5}]}',
)
URLS = (b"https://media.example.com:443/a%20b?x=1&y=/", b"http://x.cdn.example.org/", b"https://[::1]/@\\#")
