"""Builds a pack of published parts from local folders: what is absent, of another class or a pickle is told at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors import safe_open

from anygpt.errors import Precondition
from anygpt.pack import MANIFEST, PICKLES, BaseModelEntry, Manifest, PartEntry, file_digest
from anygpt_models.published.loading import class_of
from services.trainer.pack_recipe import Ingredient, LanguageSizes, PackRecipe

LANGUAGE = "llm"


def build(recipe: PackRecipe, source: Path, out: Path) -> Manifest:
    """Copy the parts of a recipe from `source/<part>` to `out` and write the manifest over them.

    Raises Precondition that lists every part that is absent or wrong; nothing is written then.
    """
    problems = list(_problems(recipe, source))
    if problems:
        raise Precondition(
            f"{recipe.name} cannot be built from {source.name}:\n" + "\n".join(f"  {line}" for line in problems),
            reason="PACK_SOURCE", field=problems[0].partition(":")[0],
        )  # fmt: skip
    for name in recipe.parts:
        shutil.copytree(source / name, out / name, dirs_exist_ok=True, ignore=_without_pickles)
    return write_manifest(recipe, out)


def write_manifest(recipe: PackRecipe, folder: Path) -> Manifest:
    """Write manifest.json over the parts that a folder has."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
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
        folder = source / name
        if not folder.is_dir():
            yield f"{name}: absent; a folder of class {part.kind} is expected ({part.provenance})"
        elif (found := class_of(folder)) != part.kind:
            yield f"{name}: should be a {part.kind}, is {found or 'no saved model'}"
        elif not any(folder.rglob("*.safetensors")):
            pickled = any(path.suffix in PICKLES for path in folder.rglob("*"))
            yield f"{name}: {'only pickled weights, save them as' if pickled else 'no'} safetensors"
    yield from _language_problems(recipe.language, source / LANGUAGE)


def _language_problems(sizes: LanguageSizes, folder: Path) -> Iterator[str]:
    path = folder / "config.json"
    if not path.is_file():
        return
    config = json.loads(path.read_text(encoding="utf-8"))
    due: Mapping[str, int] = {
        "hidden_size": sizes.hidden, "num_hidden_layers": sizes.layers, "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.feed_forward,
    }  # fmt: skip
    for name, size in due.items():
        if config.get(name) != size:
            yield f"{LANGUAGE}: {name} should be {size}, is {config.get(name)}"
    if config.get("vocab_size", 0) < sizes.rows:
        yield f"{LANGUAGE}: {sizes.rows} rows are needed, it has {config.get('vocab_size')}"
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
