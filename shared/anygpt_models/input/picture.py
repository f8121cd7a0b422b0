"""Pictures through Pillow: refused by their header when too large, brought to sRGB."""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from anygpt_models.input import refusal
from anygpt_models.input.source import Source

FORMATS: Final = (
    "AVIF", "BLP", "BMP", "CUR", "DCX", "DDS", "DIB", "FITS", "FTEX", "GIF", "ICNS", "ICO", "JPEG",
    "JPEG2000", "MSP", "PCX", "PNG", "PPM", "PSD", "QOI", "SGI", "SUN", "TIFF", "WEBP", "XBM", "XPM",
)  # fmt: skip
"""What is opened: formats known by their first bytes, none that starts another program."""

BACKGROUND: Final = (255, 255, 255)
"""What shows through transparent pixels."""

_FAULTS: Final = (
    OSError, ValueError, SyntaxError, TypeError, LookupError, ArithmeticError, AttributeError, EOFError,
    NotImplementedError, RuntimeError, struct.error, zlib.error, MemoryError, Image.DecompressionBombError,
)  # fmt: skip
_DEEP: Final = ("I;16", "I;16L", "I;16B", "I;16N")


@contextmanager
def opened_picture(source: Source) -> Iterator[Image.Image]:
    """A picture at its first frame, size checked, pixels not yet read. Faults inside are translated."""
    _hush()
    with source.opened() as file:
        try:
            with Image.open(file, formats=FORMATS) as image:
                source.check_pixels(*image.size)
                yield image
        except _FAULTS as error:
            raise _refusal(error, source) from error


def is_picture(source: Source) -> bool:
    """Whether Pillow knows the first bytes as one of `FORMATS`."""
    _hush()
    head = source.head().ljust(64, b"\0")
    Image.init()
    checks = (Image.OPEN[name][1] for name in FORMATS if name in Image.OPEN)
    return any(accepts is not None and accepts(head) is True for accepts in checks)


def srgb(image: Image.Image) -> Image.Image:
    """Any picture as 8-bit sRGB, upright; alpha over `BACKGROUND`. A broken colour profile is ignored."""
    image = ImageOps.exif_transpose(image)
    if image.mode in _DEEP or image.mode in ("I", "F"):
        return _shallow(image).convert("RGB")
    if image.mode == "P" or "transparency" in image.info:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        return _over_background(image)
    return _coloured(image, image.info.get("icc_profile"))


def pixels(image: Image.Image) -> NDArray[np.uint8]:
    """An RGB picture as an array [height, width, 3]."""
    return np.array(image, dtype=np.uint8)


def _hush() -> None:
    """Pillow's remarks about odd files are not for our logs: what matters comes as an error."""
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)


def _over_background(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    image = image.convert("RGBA")
    colours = _coloured(image.convert("RGB"), profile)
    whole = Image.new("RGB", image.size, BACKGROUND)
    whole.paste(colours, mask=image.getchannel("A"))
    return whole


def _coloured(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile and image.mode in ("RGB", "CMYK", "L", "LAB"):
        try:
            own = ImageCms.getOpenProfile(io.BytesIO(profile))
            turned = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            turned = None
        if turned is not None:
            return turned
    return image.convert("RGB")


def _shallow(image: Image.Image) -> Image.Image:
    """16 bit and 32 bit greys to 8 bit: unit floats and bytes are told apart by their largest value."""
    grey = np.nan_to_num(np.asarray(image).astype(np.float64), posinf=0.0, neginf=0.0)
    top = float(grey.max(initial=0.0))
    if image.mode in _DEEP or (image.mode == "I" and top > 255):
        grey = grey / 257.0
    elif image.mode == "F" and top <= 1.0:
        grey = grey * 255.0
    return Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))


def _refusal(error: Exception, source: Source) -> Exception:
    if isinstance(error, Image.DecompressionBombError | MemoryError):
        return refusal.too_large("the picture has too many pixels", source.field)
    if isinstance(error, ValueError) and "too large" in str(error).lower():
        return refusal.too_large("what is packed into the picture is too large", source.field)
    if isinstance(error, UnidentifiedImageError):
        return refusal.unreadable(source.field)
    if "truncated" in str(error).lower() or isinstance(error, EOFError):
        return refusal.truncated(source.field)
    return refusal.unreadable(source.field)
