"""Builds a pack of published parts from local folders: what is absent, of another class or a pickle is told at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors import safe_open

from anygpt.errors import Precondition
from anygpt.pack import MANIFEST, PICKLES, BaseModelEntry, Manifest, PartEntry, file_digest, read_object
from anygpt_models.published.loading import class_of
from services.trainer.pack_check import opens
from services.trainer.pack_recipe import Ingredient, LanguageSizes, PackRecipe

LANGUAGE = "llm"


def build(recipe: PackRecipe, source: Path, out: Path) -> Manifest:
    """Copy the parts of a recipe from `source/<part>` to `out` and write the manifest over them.

    Raises Precondition when `out` holds anything, or one that lists every part that is absent or wrong; nothing is
    written then.
    """
    if out.is_dir() and any(out.iterdir()):
        raise Precondition(f"{out} is not empty", reason="PACK_NOT_EMPTY", field="out")
    problems = list(_problems(recipe, source))
    if problems:
        raise Precondition(
            f"{recipe.name} cannot be built from {source.name}:\n" + "\n".join(f"  {line}" for line in problems),
            reason="PACK_SOURCE", field=problems[0].partition(":")[0],
        )  # fmt: skip
    for name in recipe.parts:
        shutil.copytree(source / name, out / name, ignore=_without_pickles)
    return write_manifest(recipe, out)


def write_manifest(recipe: PackRecipe, folder: Path) -> Manifest:
    """Write manifest.json over the parts that a folder has."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    manifest = Manifest(
        name=recipe.name,
        version="1",
        licence=recipe.licence,
        base_model=BaseModelEntry(
            folder=LANGUAGE,
            tokenizer=LANGUAGE,
            hidden_size=recipe.language.hidden,
            context=recipe.language.context,
        ),
        vocabulary=recipe.vocabulary,
        modalities=recipe.modalities,
        prompt=recipe.prompt,
        parts={name: _entry(part, folder / name) for name, part in recipe.parts.items()},
        files={path.relative_to(folder).as_posix(): file_digest(path) for path in files},
    )
    text = json.dumps(manifest.model_dump(exclude_none=True), indent=1, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return manifest


def _problems(recipe: PackRecipe, source: Path) -> Iterator[str]:
    for name, part in recipe.parts.items():
        try:
            for problem in _part_problems(part, source / name):
                yield f"{name}: {problem}"
            if name == LANGUAGE:
                yield from _language_problems(recipe.language, source / name)
        except Precondition as error:
            yield f"{name}: {error.message}"


def _part_problems(part: Ingredient, folder: Path) -> Iterator[str]:
    if not folder.is_dir():
        yield f"absent; a folder of class {part.kind} is expected ({part.provenance})"
        return
    if (found := class_of(folder)) != part.kind:
        yield f"should be a {part.kind}, is {found or 'no saved model'}"
    paths = sorted(folder.rglob("*"))
    if not any(path.suffix == ".safetensors" for path in paths):
        pickled = any(path.suffix in PICKLES for path in paths)
        yield f"{'only pickled weights, save them as' if pickled else 'no'} safetensors"
    for path in paths:
        if path.suffix == ".safetensors" and not opens(path):
            yield f"{path.relative_to(folder)} is no safetensors"
        elif path.is_symlink() and not path.is_file():
            yield f"{path.relative_to(folder)} is a link, and to no file"


def _language_problems(sizes: LanguageSizes, folder: Path) -> Iterator[str]:
    path = folder / "config.json"
    if not path.is_file():
        return
    config = read_object(path)
    due: Mapping[str, int] = {
        "hidden_size": sizes.hidden, "num_hidden_layers": sizes.layers, "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.feed_forward,
    }  # fmt: skip
    for name, size in due.items():
        if config.get(name) != size:
            yield f"{LANGUAGE}: {name} should be {size}, is {config.get(name)}"
    rows = config.get("vocab_size")
    if not isinstance(rows, int) or rows < sizes.rows:
        yield f"{LANGUAGE}: {sizes.rows} rows are needed, it has {rows}"
    if not (folder / "tokenizer.json").is_file():
        yield f"{LANGUAGE}: no tokenizer.json; save the tokenizer as a fast one"


def _entry(part: Ingredient, folder: Path) -> PartEntry:
    count = sum(_parameters(path) for path in folder.rglob("*.safetensors"))
    return PartEntry(licence=part.licence, provenance=part.provenance, parameters=count, trained=part.trained)


def _parameters(path: Path) -> int:
    count = 0
    with safe_open(path, framework="np") as file:
        for name in file.keys():  # noqa: SIM118  an open safetensors file is no mapping
            size = 1
            for length in file.get_slice(name).get_shape():
                size *= length
            count += size
    return count


def _without_pickles(_: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(name).suffix in PICKLES]
