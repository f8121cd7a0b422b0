"""Still pictures of every kind come out upright, in sRGB, over white."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from anygpt_models.input import Fit, Source, open_image
from tests.unit.input.files import BLUE, GREEN, RED, halves, saved


def near(pixel: NDArray[np.uint8], colour: tuple[int, int, int], tolerance: int = 12) -> bool:
    return bool(np.abs(pixel.astype(int) - np.array(colour)).max() <= tolerance)


@pytest.mark.parametrize(
    "form", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "AVIF", "JPEG2000", "ICO"]
)
def test_a_picture_keeps_its_colours_in_any_format(form: str) -> None:
    pixels = open_image(Source(saved(halves(), form)))
    assert pixels.shape[1] == 2 * pixels.shape[0]
    assert near(pixels[8, 8], RED)
    assert near(pixels[8, -8], BLUE)


@pytest.mark.parametrize(
    ("orientation", "corner"), [(1, RED), (2, BLUE), (3, BLUE), (4, RED), (6, RED), (8, BLUE)]
)
def test_a_photograph_is_turned_as_its_exif_says(orientation: int, corner: tuple[int, int, int]) -> None:
    image = halves()
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = open_image(Source(saved(image, "JPEG", exif=exif.tobytes(), quality=95)))
    assert (pixels.shape[0] > pixels.shape[1]) == (orientation >= 5)
    assert near(pixels[4, 4], corner)


def test_four_colour_print_becomes_rgb() -> None:
    pixels = open_image(Source(saved(halves(RED, GREEN).convert("CMYK"), "JPEG", quality=95)))
    assert near(pixels[8, 8], RED, 30)
    assert near(pixels[8, -8], GREEN, 30)


def test_transparent_palette_colours_show_white() -> None:
    image = halves().convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    hidden = image.getpixel((0, 0))
    pixels = open_image(Source(saved(image, "PNG", transparency=hidden)))
    assert near(pixels[8, 8], (255, 255, 255))
    assert near(pixels[8, -8], BLUE)


def test_half_transparent_pixels_mix_with_white() -> None:
    pixels = open_image(Source(saved(Image.new("RGBA", (16, 16), (0, 0, 0, 128)), "PNG")))
    assert near(pixels[8, 8], (127, 127, 127))


def test_sixteen_bit_grey_keeps_its_range() -> None:
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (8, 1))
    pixels = open_image(Source(saved(Image.fromarray(ramp), "PNG")))
    assert pixels.shape == (8, 64, 3)
    assert (pixels[0, 0, 0], pixels[0, -1, 0]) == (0, 255)
    assert abs(int(pixels[0, 32, 0]) - 130) <= 2


def test_bytes_and_unit_floats_are_both_read_as_grey() -> None:
    for top in (1.0, 255.0):
        ramp = np.tile(np.linspace(0, top, 32, dtype=np.float32), (8, 1))
        assert open_image(Source(saved(Image.fromarray(ramp), "TIFF")))[0, -1, 0] == 255


def test_a_colour_profile_is_applied() -> None:
    lab = ImageCms.createProfile("LAB")
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), lab, "RGB", "LAB")
    image = ImageCms.applyTransform(halves(), to_lab)
    assert image is not None
    profile = ImageCms.ImageCmsProfile(lab).tobytes()
    pixels = open_image(Source(saved(image, "TIFF", icc_profile=profile)))
    assert near(pixels[8, 8], RED, 6)


def test_a_broken_colour_profile_is_ignored() -> None:
    pixels = open_image(Source(saved(halves(), "PNG", icc_profile=b"no profile at all")))
    assert near(pixels[8, 8], RED)


def test_of_an_animation_the_first_frame_is_the_picture() -> None:
    blue = Image.new("RGB", (32, 32), BLUE)
    data = saved(Image.new("RGB", (32, 32), RED), "GIF", save_all=True, append_images=[blue], duration=100)
    assert near(open_image(Source(data))[0, 0], RED)


def test_a_fit_makes_squares() -> None:
    wide = np.asarray(halves(side=50))
    assert near(Fit(40, "crop")(wide)[0, 0], RED)
    assert Fit(40, "stretch")(wide).shape == (40, 40, 3)
    padded = Fit(40, "pad")(wide)
    assert near(padded[0, 0], (255, 255, 255))
    assert near(padded[20, 0], RED, 40)


def test_a_sliver_does_not_explode() -> None:
    sliver = np.zeros((1, 30_000, 3), dtype=np.uint8)
    for rule in ("crop", "stretch", "pad"):
        assert Fit(128, rule)(sliver).shape == (128, 128, 3)
