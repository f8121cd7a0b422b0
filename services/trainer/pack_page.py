"""A pack as tables: what `anygpt pack show` prints."""

from __future__ import annotations

from rich.table import Table

from anygpt.pack import Pack
from anygpt.topology import MODALITY_NAMES
from anygpt.vocabulary import BracketsBlock, ControlBlock


def tables(pack: Pack) -> list[Table]:
    """Vocabulary, modalities and parts."""
    return [_vocabulary(pack), _modalities(pack), _parts(pack)]


def _vocabulary(pack: Pack) -> Table:
    vocabulary = pack.vocabulary
    table = Table(
        "first id", "rows", "what",
        title=f"vocabulary of {vocabulary.size:,} rows, digest {vocabulary.digest[:12]}",
    )  # fmt: skip
    table.add_row("0", f"{vocabulary.text_size:,}", "text")
    first = vocabulary.text_size
    for block in pack.manifest.vocabulary.blocks:
        if isinstance(block, ControlBlock):
            what = " ".join(block.tokens)
        elif isinstance(block, BracketsBlock):
            what = f"{block.begin} {block.end} around {', '.join(block.modalities)}"
        else:
            what = f"{block.kind} of {block.modality}, {block.token.format(0)} and on"
        table.add_row(str(first), f"{block.size:,}", what)
        first += block.size
    return table


def _modalities(pack: Pack) -> Table:
    table = Table("modality", "in", "out", "steps", "formats", title="modalities")
    for modality in MODALITY_NAMES:
        into, out = pack.inputs.get(modality), pack.outputs.get(modality)
        if into or out:
            table.add_row(
                MODALITY_NAMES[modality], into.path if into else "-", out.path if out else "-",
                str(out.steps or "-") if out else "-", ", ".join(out.formats) if out else "-",
            )  # fmt: skip
    return table


def _parts(pack: Pack) -> Table:
    manifest = pack.manifest
    size = sum((pack.folder / path).stat().st_size for path in manifest.files)
    table = Table(
        "part", "parameters", "trained", "licence", "provenance",
        title=f"{manifest.name} {manifest.version}, {manifest.licence}, {size / 2**20:.1f} MiB, "
        f"digest {pack.digest[:12]}",
    )  # fmt: skip
    for name, part in manifest.parts.items():
        trained = "yes" if part.trained else "no"
        table.add_row(name, f"{part.parameters:,}", trained, part.licence, part.provenance)
    return table
