"""What a pack must be before anyone serves it: every rule is tried, and each defect is told."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from operator import index
from pathlib import Path

from numpy.lib import format as array_format
from safetensors import SafetensorError, safe_open

from anygpt.errors import AnyGPTError
from anygpt.pack import MANIFEST, PICKLES, Pack, file_digest, read_object, strays
from anygpt.topology import MODALITY_NAMES, SPEECH, TEXT
from anygpt_models.part import CONFIG, WEIGHTS, read_config
from anygpt_models.parts import Forms, class_name, due_forms, kept_forms
from anygpt_models.pipelines import openers
from anygpt_models.speech_units import FILE_NAME
from services.trainer.pack import EVALUATION, REPORTS, parameters
from services.trainer.pack_sizes import Config, Fit, misfits, read_configs

ZIP, PICKLES_START = b"PK\x03\x04", tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
"""How a file of torch.save begins, and a bare pickle."""
GGUF = b"GGUF"
"""How a file of llama.cpp begins."""
MOST_HEADER = 1 << 14
"""Bytes that hold the header of any array."""
WEIGHT_FILES = {".safetensors", ".gguf"}
SYNTHESISER = "speech_synthesiser"
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
    return [
        Defect(name, *found)
        for name, rules in RULES.items()
        for rule in rules
        for found in _tried(rule, pack)
    ]


def _tried(rule: Rule, pack: Pack) -> Iterator[tuple[str, str]]:
    """What a rule finds, the file that it cannot read included."""
    try:
        yield from rule(pack)
    except AnyGPTError as error:
        yield error.field, error.message
    except OSError as error:
        yield "pack", str(error)


def _digests(pack: Pack) -> Iterator[tuple[str, str]]:
    links = (path.relative_to(pack.folder).as_posix() for path in pack.folder.rglob("*") if path.is_symlink())
    outside = sorted({*strays(pack.folder, pack.manifest), *links})
    for path in outside:
        yield path, "it is a link, or lies outside the pack"
    for path, digest in pack.manifest.files.items():
        file = pack.folder / path
        if path in outside:
            continue
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
        if reason := _danger(file):
            yield file.relative_to(pack.folder).as_posix(), reason


def _danger(file: Path) -> str:
    """Why reading a file could run code; empty where it could not."""
    with file.open("rb") as opened:
        start = opened.read(4)
    if file.suffix in PICKLES or (file.suffix != ".safetensors" and _is_code(start, file.suffix)):
        return "a pickle can run code: weights are safetensors"
    if file.suffix == ".py" and file.read_text("utf-8", "replace") != openers().get(file.name):
        return "Python that is not this package's: diffusers would run it"
    if file.suffix == ".gguf" and start != GGUF:
        return "the file is no GGUF"
    if file.suffix == ".npz" and not _holds_plain_arrays(file):
        return "the file holds more than plain arrays"
    if file.suffix not in WEIGHT_FILES | INERT and file.stat().st_size > LEAST_WEIGHTS:
        return "a large file of unknown kind"
    return ""


def _is_code(start: bytes, suffix: str) -> bool:
    return start.startswith(PICKLES_START) or (start == ZIP and suffix != ".npz")


def _holds_plain_arrays(file: Path) -> bool:
    """Whether an archive of arrays has nothing else in it, and no array of Python's objects, which are pickled."""
    try:
        with zipfile.ZipFile(file) as archive:
            return all(_is_plain_array(archive, name) for name in archive.namelist())
    except Exception:  # noqa: BLE001  archive, compression and header fail each in ways of its own
        return False


def _is_plain_array(archive: zipfile.ZipFile, name: str) -> bool:
    with archive.open(name) as member:
        start = BytesIO(member.read(MOST_HEADER))
    if array_format.read_magic(start) == (1, 0):
        _, _, kind = array_format.read_array_header_1_0(start)
    else:
        _, _, kind = array_format.read_array_header_2_0(start)
    return name.endswith(".npy") and not kind.hasobject


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


def _tokeniser(pack: Pack) -> Iterator[tuple[str, str]]:
    folder = pack.manifest.base_model.tokenizer
    path = pack.folder / folder / "tokenizer.json"
    if not path.is_file():
        yield folder, "there is no tokenizer.json"
        return
    try:
        tokens = read_object(path)
        ids = tokens["model"]["vocab"]
        added = {token["content"]: index(token["id"]) for token in tokens["added_tokens"]}
        words = ids if isinstance(ids, Mapping) else {word[0]: place for place, word in enumerate(ids)}
        most = max(index(place) for word, place in words.items() if word not in added)
    except (LookupError, TypeError, ValueError):
        yield folder, f"{path.name} names no ids"
        return
    if most >= pack.vocabulary.text_size:
        yield folder, f"the tokenizer has id {most}, the vocabulary {pack.vocabulary.text_size} rows of text"
    for stop in pack.manifest.prompt.stop:
        # Other tokens that were added behind the text are never read or written: published tokenizers have them.
        if added.get(stop, 0) >= pack.vocabulary.text_size:
            yield folder, f"{stop!r}, which ends an answer, has id {added[stop]}, which is no text"


def _units(pack: Pack) -> Iterator[tuple[str, str]]:
    path = pack.folder / "speech_units" / FILE_NAME
    if path.is_file() and SPEECH in pack.vocabulary.codes:
        pieces, codes = read_object(path).get("pieces"), pack.vocabulary.codes[SPEECH].count
        if not isinstance(pieces, list):
            yield "speech_units", f"{path.name} has no list of pieces"
        elif len(pieces) != codes:
            yield "speech_units", f"there are {len(pieces)} units, the vocabulary has {codes} codes of speech"


def _licences(pack: Pack) -> Iterator[tuple[str, str]]:
    if not pack.manifest.licence.strip():
        yield MANIFEST, "the pack has no licence"
    folders = {path.name for path in pack.folder.iterdir() if path.is_dir()}
    for name in sorted(folders - set(pack.manifest.parts)):
        yield name, "nobody says under which licence the part is"
    for name, entry in pack.manifest.parts.items():
        if name not in folders:
            yield name, "the part is missing"
        if not (entry.licence.strip() and entry.provenance.strip()):
            yield name, "the part has no licence or no provenance"


def _shapes(pack: Pack) -> Iterator[tuple[str, str]]:
    configs: dict[str, Config] = {}
    for part in sorted(path for path in pack.folder.iterdir() if path.is_dir()):
        try:
            due = due_forms(part) if class_name(part) else {}
            configs |= read_configs(part)
        except AnyGPTError as error:
            yield part.name, error.message
            continue
        if due:
            yield from _tensors(part, due)
    manifest = pack.manifest
    yield from misfits(configs, Fit(manifest.base_model.hidden_size, pack.vocabulary, manifest.modalities))
    yield from _books(pack, configs.get("llm_adapter", {}))


def _tensors(part: Path, due: Forms) -> Iterator[tuple[str, str]]:
    """Whether a part has the tensors that its configuration asks for."""
    try:
        kept = kept_forms(part)
    except (SafetensorError, OSError) as error:
        yield part.name, f"{WEIGHTS} cannot be read: {error}"
        return
    for name in sorted(due.keys() | kept.keys()):
        if due.get(name) != kept.get(name):
            yield part.name, f"{name} should be {due.get(name)}, is {kept.get(name)}"
            return


def _weights(pack: Pack) -> Iterator[tuple[str, str]]:
    for file in _files(pack.folder):
        if file.suffix != ".safetensors":
            continue
        path = file.relative_to(pack.folder).as_posix()
        if not opens(file):
            yield path, "the file is no safetensors"
        elif name := _no_number(file):
            yield path, f"{name} has what is no number, or is beyond all of them"


def _no_number(file: Path) -> str:
    """A tensor that nothing could be computed with; empty where there is none."""
    with safe_open(file, framework="pt") as tensors:
        for name in sorted(tensors.keys()):
            tensor = tensors.get_tensor(name)
            if tensor.is_floating_point() and not tensor.float().isfinite().all():
                return str(name)
    return ""


def _settings(pack: Pack) -> Iterator[tuple[str, str]]:
    """Whether each part with weights says what they are of, and the voices are those of the one that speaks."""
    for part in sorted(path for path in pack.folder.iterdir() if path.is_dir()):
        if any(part.glob("*.safetensors")) and not (part / CONFIG).is_file():
            yield part.name, f"there are weights, and no {CONFIG}"
    known = read_config(pack.folder / SYNTHESISER).get("voices")
    for voice in pack.manifest.voices:
        if not isinstance(known, list) or voice not in known:
            yield SYNTHESISER, f"there is no voice {voice!r}"


def _figures(pack: Pack) -> Iterator[tuple[str, str]]:
    """Whether weights are as many as the manifest says; what is no safetensors is told elsewhere."""
    for part in sorted(path for path in pack.folder.iterdir() if path.is_dir()):
        entry = pack.manifest.parts.get(part.name)
        if entry is None or not all(map(opens, part.rglob("*.safetensors"))):
            continue
        if (count := parameters(part)) != entry.parameters:
            yield part.name, f"there are {count} parameters, the manifest says {entry.parameters}"
        elif entry.trained and not count:
            yield part.name, "there are no parameters, the manifest says that they were trained"


def _reports(pack: Pack) -> Iterator[tuple[str, str]]:
    """Whether what was measured is of this pack; that the figures are true, no rule can tell."""
    path = pack.folder / EVALUATION
    if path.is_file() and read_object(path).get("sha256") != pack.digest:
        yield EVALUATION, f"its figures are of another {MANIFEST}"


def _books(pack: Pack, adapter: Config) -> Iterator[tuple[str, str]]:
    """Whether the codes that an adapter has rows for stand where the vocabulary has such codes."""
    size = pack.vocabulary.text_size
    codes = {(place.first - size, place.count) for place in pack.vocabulary.codes.values()}
    for count, _, *places in adapter.get("books", ()):
        for place in places:
            if (place, count) not in codes:
                yield (
                    "llm_adapter",
                    f"{count} codes stand after {place} tokens, where the vocabulary has none such",
                )


def opens(file: Path) -> bool:
    """Whether a file is safetensors, whole by its header."""
    try:
        with safe_open(file, framework="np"):
            return True
    except (SafetensorError, OSError):
        return False


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


RULES: Mapping[str, tuple[Rule, ...]] = {
    "digests": (_digests,),
    "no pickle": (_no_code,),
    "vocabulary": (_vocabulary, _tokeniser, _units),
    "licences": (_licences,),
    "shapes": (_shapes, _weights, _settings),
    "figures": (_figures, _reports),
}
"""By name, each in steps: where one meets a file that cannot be read, the others are tried all the same."""
