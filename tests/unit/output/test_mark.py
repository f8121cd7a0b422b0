"""Generated media say that they are, in every format, where programs look for it; and the same bytes come again."""

from __future__ import annotations

import io
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from PIL import Image

from anygpt_models.output import Clip, Media, Picture, Sound, encode
from anygpt_models.output.mark import SOURCE_TYPE

PICTURE = Picture(np.full((32, 48, 3), 90, dtype=np.uint8))
CLIP = Clip(np.arange(8 * 32 * 32 * 3, dtype=np.uint8).reshape(8, 32, 32, 3), 8.0)
SOUND = Sound(np.sin(np.arange(16_000, dtype=np.float32) / 6), 16_000)
MADE: list[tuple[str, Media]] = [
    *((form, PICTURE) for form in ("png", "jpeg", "webp")),
    *((form, CLIP) for form in ("mp4", "webm", "gif")),
    *((form, SOUND) for form in ("wav", "flac", "ogg", "mp3")),
]


def source_type(xmp: str | bytes) -> str:
    """The attribute of an XMP packet."""
    tree = ElementTree.fromstring(xmp)
    [found] = [
        text for one in tree.iter() for name, text in one.attrib.items() if "DigitalSourceType" in name
    ]
    return found


def told(data: bytes, form: str) -> str:
    """The source type as a reader of the format finds it."""
    if form in ("png", "jpeg", "webp"):
        with Image.open(io.BytesIO(data)) as image:
            return source_type(image.info["XML:com.adobe.xmp" if form == "png" else "xmp"])
    if form == "gif":
        with Image.open(io.BytesIO(data)) as image:
            return str(image.info["comment"].decode()).rpartition(" ")[2]
    with av.open(io.BytesIO(data)) as container:
        places = [container.metadata, *(stream.metadata for stream in container.streams)]
    comments = [text for place in places for name, text in place.items() if name.lower() == "comment"]
    return comments[0].rpartition(" ")[2] if comments else ""


@pytest.mark.parametrize(("form", "media"), MADE, ids=[form for form, _ in MADE])
def test_generated_media_say_that_a_model_made_them(form: str, media: Media) -> None:
    data, _ = encode(media, form)
    assert told(data, form) == SOURCE_TYPE
    assert encode(media, form)[0] == data
