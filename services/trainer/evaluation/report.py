"""Where an evaluation goes: its table into a folder, its gallery into a file."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anygpt.errors import InvalidInput
from services.trainer.evaluation.gallery import write_gallery
from services.trainer.evaluation.result import Kept, Result
from services.trainer.evaluation.run import Shown


@dataclass(frozen=True)
class Report:
    """The places of one evaluation, and what was there before."""

    folder: Path | None
    gallery: Path | None
    spares_larger: bool
    """Whether a table of the same pack with more questions stays where it is."""
    kept: Kept | None = None

    @classmethod
    def open(cls, folder: Path | None, gallery: Path | None, spares_larger: bool) -> Report:
        """Try the places: better now than in an hour. Raises InvalidInput for one that cannot be written."""
        if folder:
            _check_writable(folder, "--out")
        if gallery:
            _check_writable(gallery.parent, "--gallery")
        if gallery and gallery.is_dir():
            raise InvalidInput(f"{gallery.name!r} is a folder", field="--gallery")
        return cls(folder, gallery, spares_larger, Kept.read(folder) if folder else None)

    def write(self, result: Result, shown: Sequence[Shown]) -> tuple[Result, str]:
        """The result with what stays of the earlier one, written, and what is to be said of that.

        The table comes first: no picture of a gallery is worth its figures.
        """
        whole, said = result.after(self.kept), ""
        if self.folder and self.spares_larger and whole.is_less_than(self.kept):
            said = "The pack's own table is of more questions, and stays; --out keeps this one."
        elif self.folder:
            whole.write(self.folder)
        if self.gallery:
            write_gallery(self.gallery, f"What {whole.pack} makes", shown)
        return whole, said


def _check_writable(folder: Path, option: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        message = f"nothing can be written to {folder.name!r}: {error.strerror}"
        raise InvalidInput(message, field=option) from error
