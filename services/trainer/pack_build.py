"""Builds a pack of published parts from local folders: all that is absent, unfit or a pickle is told at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from anygpt.errors import Precondition
from anygpt.pack import MANIFEST, PICKLES, BaseModelEntry, Manifest, PartEntry, file_digest, read_object
from anygpt.vocabulary import Vocabulary
from anygpt.whole import UNFINISHED, write_whole
from anygpt_models.part import CONFIG
from anygpt_models.published.loading import class_of
from services.trainer.pack import parameters
from services.trainer.pack_check import opens
from services.trainer.pack_recipe import Ingredient, LanguageSizes, PackRecipe
from services.trainer.pack_sizes import Config, Fit, misfits, read_configs

LANGUAGE = "llm"
LOADED = ("model.safetensors", "diffusion_pytorch_model.safetensors")
"""Weights that transformers and diffusers load unasked."""


def build(recipe: PackRecipe, source: Path, out: Path) -> Manifest:
    """Copy the parts of a recipe from `source/<part>` to `out` and write the manifest over them.

    A kill leaves no `out`. Raises Precondition when `out` holds anything, or one that lists every part that is absent
    or wrong; nothing is written then.
    """
    out = out.resolve()
    if out.is_dir() and any(out.iterdir()):
        raise Precondition(f"{out} is not empty", reason="PACK_NOT_EMPTY", field="out")
    problems = list(_problems(recipe, source))
    if problems:
        raise Precondition(
            f"{recipe.name} cannot be built from {source.name}:\n" + "\n".join(f"  {line}" for line in problems),
            reason="PACK_SOURCE", field=problems[0].partition(":")[0],
        )  # fmt: skip
    unfinished = out.with_name(f"{out.name}{UNFINISHED}")
    shutil.rmtree(unfinished, ignore_errors=True)
    for name in recipe.parts:
        shutil.copytree(source / name, unfinished / name, ignore=_without_pickles)
    manifest = write_manifest(recipe, unfinished)
    unfinished.rename(out)
    return manifest


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
    write_whole(folder / MANIFEST, text + "\n")
    return manifest


def _problems(recipe: PackRecipe, source: Path) -> Iterator[str]:
    configs: dict[str, Config] = {}
    for name, part in recipe.parts.items():
        try:
            for problem in _part_problems(part, source / name):
                yield f"{name}: {problem}"
            if name == LANGUAGE:
                yield from _language_problems(recipe.language, source / name)
            if class_of(source / name) == part.kind:
                configs |= read_configs(source / name)
        except Precondition as error:
            yield f"{name}: {error.message}"
    conditions = recipe.tuning.conditions if recipe.tuning else {}
    fit = Fit(recipe.language.hidden, Vocabulary(recipe.vocabulary), recipe.modalities, conditions)
    yield from (f"{name}: {problem}" for name, problem in misfits(configs, fit))


def _part_problems(part: Ingredient, folder: Path) -> Iterator[str]:
    if not folder.is_dir():
        yield f"absent; a folder of class {part.kind} is expected ({part.provenance})"
        return
    if (found := class_of(folder)) != part.kind:
        yield f"should be a {part.kind}, is {found or 'no saved model'}"
    components = dict(_components(folder))
    for name, kind in components.items():
        yield from (f"{name}: {problem}" for problem in _component_problems(kind, folder / name))
    if not components:
        yield from _weight_problems(folder)
    yield from _shard_problems(folder)
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".safetensors" and not opens(path):
            yield f"{path.relative_to(folder)} is no safetensors"
        elif path.is_symlink() and not path.is_file():
            yield f"{path.relative_to(folder)} is a link, and to no file"


def _components(pipeline: Path) -> Iterator[tuple[str, str]]:
    """Name and class of each component that a pipeline was saved with; a model has none."""
    path = pipeline / "model_index.json"
    for name, value in (read_object(path) if path.is_file() else {}).items():
        match value:
            case [str(), str(kind)] if not name.startswith("_"):
                yield name, kind


def _component_problems(kind: str, folder: Path) -> Iterator[str]:
    if not folder.is_dir() or not any(folder.iterdir()):
        yield f"absent; {kind} is expected"
    elif (folder / CONFIG).is_file() or _has_files(folder, PICKLES):
        yield from _weight_problems(folder)


def _weight_problems(model: Path) -> Iterator[str]:
    if not _has_files(model, {".safetensors"}):
        pickled = _has_files(model, PICKLES)
        yield f"{'only pickled weights, save them as' if pickled else 'no'} safetensors"
    elif not any((model / f"{name}{end}").is_file() for name in LOADED for end in ("", ".index.json")):
        yield f"none of its weights is {' or '.join(LOADED)}, as those are named that are no variant"


def _has_files(folder: Path, suffixes: Collection[str]) -> bool:
    return any(path.suffix in suffixes for path in folder.iterdir())


def _shard_problems(folder: Path) -> Iterator[str]:
    """The files that an index of weights names and that are not there."""
    for index in sorted(folder.rglob("*.safetensors.index.json")):
        match read_object(index):
            case {"weight_map": dict(shards)}:
                for name in sorted(set(map(str, shards.values()))):
                    if not (index.parent / name).is_file():
                        yield f"{index.parent.relative_to(folder) / name} is absent, which {index.name} names"
            case _:
                yield f"{index.relative_to(folder)} names no files"


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
    count = parameters(folder)
    return PartEntry(licence=part.licence, provenance=part.provenance, parameters=count, trained=part.trained)


def _without_pickles(_: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(name).suffix in PICKLES]
