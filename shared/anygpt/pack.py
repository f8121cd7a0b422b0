"""A pack: a folder with all weights, and the manifest that fits them together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from anygpt.errors import Precondition
from anygpt.topology import MODALITIES, Modality
from anygpt.vocabulary import ModalityName, Vocabulary, VocabularyLayout

MANIFEST = "manifest.json"
ANNOUNCEMENT = 48
"""Most tokens in which the model says, unheard, what a span will be."""
PICKLES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})
"""Endings of files whose reading can run code."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BaseModelEntry(_Entry):
    """Where the language model comes from: a file that an installed package carries, or a folder of the pack."""

    package: str = Field(default="", description="Importable package that carries the weights.")
    file: str = Field(default="", description="Glob of the file within the package.")
    folder: str = Field(
        default="", description="Folder below the pack with config, tokenizer and safetensors."
    )
    tokenizer: str = Field(description="Folder below the pack with tokenizer.json.")
    hidden_size: int
    context: int = Field(description="Most tokens of prompt and answer together.")


class SamplingEntry(_Entry):
    """Defaults of one modality's spans."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_tokens: int


class InputEntry(_Entry):
    """How one modality enters the prompt."""

    path: Literal["tokens", "codes", "features"]
    length: int = Field(
        default=0, description="Embeddings (features) or codes a media part has; 0: by duration."
    )
    counts: tuple[int, ...] = Field(
        default=(),
        description="Numbers of feature vectors that a media part may have, where that depends on what it shows; "
        "then `length` is the most embeddings that they become. Empty: `length`.",
    )
    width: int = Field(default=0, description="Width of the features.")
    rate: float = Field(default=0.0, description="Most codes a second, where the length goes by duration.")
    max_duration_s: float = Field(
        default=0.0, description="What is longer is cut or spread, as the encoder says."
    )


class OutputEntry(_Entry):
    """How one modality leaves the model."""

    path: Literal["tokens", "codes", "signals"]
    min_count: int = Field(default=1, description="Fewest codes or signals between the brackets.")
    max_count: int = Field(
        default=0, description="Most codes or signals between the brackets; 0: no bound but max_tokens."
    )
    streams: bool = Field(default=False, description="The decoder starts before the span ends.")
    announced: bool = Field(
        default=False, description="The model says what it will make, unheard where text is not wanted."
    )
    width: int = 0
    height: int = 0
    frame_rate: float = 0.0
    sample_rate: int = 0
    duration_s: float = Field(default=0.0, description="Native duration.")
    steps: int = Field(default=0, description="Default denoising steps.")
    guidance: float = Field(default=0.0, description="Default classifier-free guidance.")
    schedulers: tuple[str, ...] = Field(
        default=(), description="What a request may choose in place of the pipeline's own."
    )
    formats: tuple[str, ...] = Field(default=(), description="The first is the default.")
    sampling: SamplingEntry

    @property
    def has_one_length(self) -> bool:
        """Whether every span is as long as any other, so that no span ends too late."""
        return self.path == "signals" or self.min_count == self.max_count


class ModalityEntry(_Entry):
    """What the pack can do with one modality."""

    input: InputEntry | None = None
    output: OutputEntry | None = None


class PromptEntry(_Entry):
    """The prompt template: what stands around each turn."""

    system: str = ""
    before_system: str
    before_user: str
    before_assistant: str
    after_turn: str
    after_system: str | None = Field(default=None, description="Where it is not as after a turn.")
    after_answer: str | None = Field(default=None, description="Where it is not as after a message.")
    stop: tuple[str, ...] = Field(min_length=1, description="Tokens that end the answer.")
    speech_suffix: str = Field(default="", description="Put after a spoken message.")


class PartEntry(_Entry):
    """Where one trained part comes from, and under which licence."""

    licence: str
    provenance: str
    parameters: int = 0
    trained: bool = True


class Manifest(_Entry):
    """All of manifest.json."""

    name: str
    version: str
    licence: str
    base_model: BaseModelEntry
    vocabulary: VocabularyLayout
    modalities: Mapping[ModalityName, ModalityEntry]
    prompt: PromptEntry
    voices: tuple[str, ...] = Field(default=(), description="The first is the default.")
    parts: Mapping[str, PartEntry]
    files: Mapping[str, str] = Field(description="Sha256 of each file, by path below the pack.")


def packs_folder() -> Path:
    """Where packs lie that are named, not given by path."""
    return Path(__file__).resolve().parent.parent / "packs"


class Pack:
    """An opened pack: the manifest checked, the files in place."""

    def __init__(self, folder: Path, manifest: Manifest, digest: str) -> None:
        self.folder = folder
        self.manifest = manifest
        self.digest = digest

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary that all parts share."""
        return Vocabulary(self.manifest.vocabulary)

    @cached_property
    def inputs(self) -> dict[Modality, InputEntry]:
        """The modalities that can go in."""
        return {MODALITIES[name]: e.input for name, e in self.manifest.modalities.items() if e.input}

    @cached_property
    def outputs(self) -> dict[Modality, OutputEntry]:
        """The modalities that can come out."""
        return {MODALITIES[name]: e.output for name, e in self.manifest.modalities.items() if e.output}

    def has(self, name: str) -> bool:
        """Whether there is such a part."""
        return (self.folder / name).is_dir()

    def part(self, name: str) -> Path:
        """The folder of a part. Raises Precondition when the pack lacks it."""
        folder = self.folder / name
        if not folder.is_dir():
            raise Precondition(f"the pack has no part {name!r}", reason="PACK_PART_MISSING", field=name)
        return folder


def open_pack(name: str) -> Pack:
    """Open a pack by name or path.

    Raises Precondition for what is missing, malformed, changed, a pickle or outside.
    """
    pack = read_pack(name)
    check_files(pack.folder, pack.manifest)
    return pack


def read_pack(name: str) -> Pack:
    """A pack whose files nobody has looked at. Raises Precondition for a manifest that is missing or malformed."""
    folder = Path(name) if "/" in name else packs_folder() / name
    path = folder / MANIFEST
    if not path.is_file():
        raise Precondition(f"there is no pack {folder.name!r}", reason="PACK_MISSING", field="pack")
    raw = path.read_bytes()
    try:
        manifest = Manifest.model_validate(json.loads(raw))
    except (ValueError, RecursionError) as error:
        raise Precondition(
            f"{MANIFEST} is malformed: {error}", reason="PACK_MALFORMED", field="pack"
        ) from error
    return Pack(folder, manifest, hashlib.sha256(raw).hexdigest())


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object that a file of a pack holds. Raises Precondition naming the file when it holds none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
    except (OSError, RecursionError, ValueError) as error:
        raise Precondition(
            f"{path.parent.name}/{path.name} is malformed: {error}", reason="PACK_MALFORMED",
            field=path.parent.name,
        ) from error  # fmt: skip
    return found


def strays(folder: Path, manifest: Manifest) -> list[str]:
    """The paths of a manifest that leave the pack: absolute, upwards or through a link."""
    base = manifest.base_model
    return [path for path in (base.folder, base.tokenizer, *manifest.files) if not _stays(folder, path)]


def _stays(folder: Path, path: str) -> bool:
    """Whether a path names what lies in the folder, which itself may be reached through a link."""
    below = Path(path)
    steps = (folder / step for step in (below, *below.parents) if step.name)
    return not (below.is_absolute() or ".." in below.parts or any(step.is_symlink() for step in steps))


def check_files(folder: Path, manifest: Manifest) -> None:
    """Compare every file with its digest.

    Raises Precondition naming the first that is outside, missing, changed or a pickle.
    """
    for path in strays(folder, manifest):
        raise Precondition(f"{path} lies outside the pack", reason="PACK_FILE_OUTSIDE", field=path)
    for path, digest in manifest.files.items():
        file = folder / path
        if file.suffix in PICKLES:
            raise Precondition(f"the pack's file {path} is a pickle", reason="PACK_PICKLE", field=path)
        if not file.is_file():
            raise Precondition(f"the pack's file {path} is missing", reason="PACK_FILE_MISSING", field=path)
        if file_digest(file) != digest:
            raise Precondition(f"the pack's file {path} was changed", reason="PACK_FILE_CHANGED", field=path)


def file_digest(path: Path) -> str:
    """Sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
