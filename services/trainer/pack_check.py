"""What a pack must be before anyone serves it: every rule is tried, and each defect is told."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from anygpt.errors import AnyGPTError
from anygpt.pack import MANIFEST, PICKLES, Pack, file_digest
from anygpt.topology import MODALITIES, MODALITY_NAMES, SPEECH, TEXT
from anygpt_models.part import CLASS, WEIGHTS, read_config
from anygpt_models.parts import class_name, due_shapes, kept_shapes
from anygpt_models.speech_units import FILE_NAME
from services.trainer.pack import REPORTS

ZIP, PICKLES_START = b"PK\x03\x04", tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
"""How a file of torch.save begins, and a bare pickle."""
WEIGHT_FILES = {".safetensors", ".gguf"}
LEAST_WEIGHTS = 1 << 20
"""Bytes from which a file must be of a kind that is known to hold no code."""
INERT = {".json", ".txt", ".md", ".png", ".wav", ".model", ".jinja", ".npz", ".html"}


@dataclass(frozen=True)
class Defect:
    """A rule that does not hold, where, and why."""

    rule: str
    field: str
    message: str


Rule = Callable[[Pack], Iterator[tuple[str, str]]]
"""Pack -> field and message of each defect."""


def check(pack: Pack) -> list[Defect]:
    """Every defect of the files and their facts; nothing is loaded, so that nothing in them can act."""
    return [Defect(name, *found) for name, rule in RULES.items() for found in rule(pack)]


def _digests(pack: Pack) -> Iterator[tuple[str, str]]:
    for path, digest in pack.manifest.files.items():
        file = pack.folder / path
        if not file.is_file():
            yield path, "the file is missing"
        elif file_digest(file) != digest:
            yield path, "the file is not what its sha256 says"
    known = {MANIFEST, *REPORTS, *pack.manifest.files}
    for file in _files(pack.folder):
        if (path := file.relative_to(pack.folder).as_posix()) not in known:
            yield path, "the file is not in the manifest"


def _no_code(pack: Pack) -> Iterator[tuple[str, str]]:
    for file in _files(pack.folder):
        path = file.relative_to(pack.folder).as_posix()
        if file.suffix in PICKLES or (file.suffix not in WEIGHT_FILES and _starts_as_code(file)):
            yield path, "a pickle can run code: weights are safetensors"
        elif file.suffix not in WEIGHT_FILES | INERT and file.stat().st_size > LEAST_WEIGHTS:
            yield path, "a large file of unknown kind"


def _starts_as_code(file: Path) -> bool:
    with file.open("rb") as opened:
        start = opened.read(4)
    return start.startswith(PICKLES_START) or (start == ZIP and file.suffix != ".npz")


def _vocabulary(pack: Pack) -> Iterator[tuple[str, str]]:
    vocabulary = pack.vocabulary
    twice = [text for text, count in Counter(vocabulary.token_texts()).items() if count > 1]
    if twice:
        yield "vocabulary", f"two tokens are written {twice[0]!r}"
    for modality, output in pack.outputs.items():
        name = MODALITY_NAMES[modality]
        place = {"codes": vocabulary.codes, "signals": vocabulary.signals}.get(output.path, {})
        if modality != TEXT and modality not in place:
            yield name, f"the vocabulary has no {output.path} for what goes out"
        if output.path == "signals" and modality in place and place[modality].count != output.max_count:
            yield name, f"{place[modality].count} signals, {output.max_count} in its output"
    for modality, into in pack.inputs.items():
        name = MODALITY_NAMES[modality]
        if into.path == "codes" and modality not in vocabulary.codes:
            yield name, "the vocabulary has no codes for what comes in"
        if modality != TEXT and modality not in vocabulary.brackets:
            yield name, "the vocabulary has no brackets for what comes in"
    yield from _tokeniser(pack)
    yield from _units(pack)


def _tokeniser(pack: Pack) -> Iterator[tuple[str, str]]:
    folder = pack.manifest.base_model.tokenizer
    path = pack.folder / folder / "tokenizer.json"
    if not path.is_file():
        yield folder, "there is no tokenizer.json"
        return
    ids = json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"]
    most = max(ids.values() if isinstance(ids, Mapping) else range(len(ids)))
    if most >= pack.vocabulary.text_size:
        yield folder, f"the tokenizer has id {most}, the vocabulary {pack.vocabulary.text_size} rows of text"


def _units(pack: Pack) -> Iterator[tuple[str, str]]:
    path = pack.folder / "speech_units" / FILE_NAME
    if path.is_file() and SPEECH in pack.vocabulary.codes:
        pieces = json.loads(path.read_text(encoding="utf-8")).get("pieces", ())
        if len(pieces) != (codes := pack.vocabulary.codes[SPEECH].count):
            yield "speech_units", f"there are {len(pieces)} units, the vocabulary has {codes} codes of speech"


def _licences(pack: Pack) -> Iterator[tuple[str, str]]:
    folders = {path.name for path in pack.folder.iterdir() if path.is_dir()}
    for name in sorted(folders - set(pack.manifest.parts)):
        yield name, "nobody says under which licence the part is"
    for name, entry in pack.manifest.parts.items():
        if name not in folders:
            yield name, "the part is missing"
        if not (entry.licence.strip() and entry.provenance.strip()):
            yield name, "the part has no licence or no provenance"


def _shapes(pack: Pack) -> Iterator[tuple[str, str]]:
    for part in sorted(path for path in pack.folder.iterdir() if class_name(path)):
        try:
            due, kept = due_shapes(part), kept_shapes(part)
        except (AnyGPTError, SafetensorError, FileNotFoundError) as error:
            yield part.name, f"{WEIGHTS} cannot be read: {error}"
            continue
        for name in sorted(due.keys() | kept.keys()):
            if due.get(name) != kept.get(name):
                yield part.name, f"{name} should be {due.get(name)}, is {kept.get(name)}"
                break
    for file in _files(pack.folder):
        if file.suffix == ".safetensors" and not _opens(file):
            yield file.relative_to(pack.folder).as_posix(), "the file is no safetensors"
    yield from _projections(pack)
    yield from _books(pack)


def _projections(pack: Pack) -> Iterator[tuple[str, str]]:
    """Whether the parts fit the language model and the vocabulary between them."""
    hidden, vocabulary = pack.manifest.base_model.hidden_size, pack.vocabulary
    due: dict[str, dict[str, int]] = {
        "llm_adapter": {"tokens": vocabulary.size - vocabulary.text_size, "width": hidden}
    }
    if read_config(pack.folder / "llm_adapter").get("codes") and SPEECH in vocabulary.codes:
        codes = vocabulary.codes[SPEECH]
        due["llm_adapter"] |= {"codes": codes.count, "codes_after": codes.first - vocabulary.text_size}
    for modality, into in pack.inputs.items():
        due[f"{MODALITY_NAMES[modality]}_input_projection"] = {"in_width": into.width, "out_width": hidden}
    for name in MODALITIES:
        due[f"{name}_output_projection"] = {"in_width": hidden}
    for part, sizes in due.items():
        config = read_config(pack.folder / part)
        if not config.get(CLASS):
            continue
        for name, size in sizes.items():
            if config.get(name) != size:
                yield part, f"{name} should be {size}, is {config.get(name)}"


def _books(pack: Pack) -> Iterator[tuple[str, str]]:
    """Whether the codes that an adapter has rows for stand where the vocabulary has such codes."""
    size = pack.vocabulary.text_size
    codes = {(place.first - size, place.count) for place in pack.vocabulary.codes.values()}
    for count, _, *places in read_config(pack.folder / "llm_adapter").get("books", ()):
        for place in places:
            if (place, count) not in codes:
                yield (
                    "llm_adapter",
                    f"{count} codes stand after {place} tokens, where the vocabulary has none such",
                )


def _opens(file: Path) -> bool:
    try:
        with safe_open(file, framework="np"):
            return True
    except SafetensorError:
        return False


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


RULES: Mapping[str, Rule] = {
    "digests": _digests, "no pickle": _no_code, "vocabulary": _vocabulary, "licences": _licences, "shapes": _shapes,
}  # fmt: skip
