"""The samples of a pack: what a first conversation shows and says to it. None of it is a trained part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from services.trainer.data.scenes import Album
from services.trainer.data.world import Scene
from services.trainer.recipe import Recipe

FOLDER = "samples"
SIZE = 512
PICTURES = {"face": Scene("sad face", "white"), "picture": Scene("dog", "yellow")}


def run_samples(recipe: Recipe) -> None:
    """Draw the pictures, larger than the pack's own size as a user's would be."""
    album = Album.open(recipe.cache)
    folder = recipe.pack / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, scene in PICTURES.items():
        write_picture(album, scene, folder / f"{name}.png")


def write_picture(album: Album, scene: Scene, path: Path) -> None:
    """One scene as a PNG."""
    pixels = album.render([scene])[0].permute(1, 2, 0).cpu().numpy()
    picture = Image.fromarray(np.round((pixels + 1) * 127.5).astype(np.uint8))
    picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS).save(path, optimize=True)
