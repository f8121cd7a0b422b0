"""The recipe of the accelerator at a size that processors bear: two steps of every stage, on tiny data."""

from __future__ import annotations

from pathlib import Path

from services.trainer.mini import read_configs
from services.trainer.settable import SETTABLE
from services.trainer.stage_config import GPU

STEPS = 2
AMOUNTS = {
    "image.tokens": {"backdrops": 1, "others": 1},
    "alignment.read": {"image": 40, "video": 10, "audio": 10},
    "alignment.describe": {"dialogues": 20, "batch_tokens": 256},
    "alignment.redescribe": {"dialogues": 20, "batch_tokens": 256},
    "alignment.converse": {"dialogues": 20, "batch_tokens": 256},
    "alignment.signal": {"chunk": 12, "chunks": 1, "batch_tokens": 256, "fit_steps": STEPS},
    "alignment.codes": {"made": 12, "named": 6, "dialogues": 6, "batch_tokens": 256, "views": 1},
}


def write_config(path: Path) -> Path:
    """The config of the accelerator with two steps a stage, small batches and few examples; its sizes stay."""
    lines, configs = list[str](), read_configs(GPU)
    for name in SETTABLE:
        lines += [f'["{name}"]', f"steps = {STEPS}", "save_every = 1", "log_every = 1"]
        if sizes := configs[name].sizes:
            lines.append(f"sizes = {_table(sizes)}")
        if name in AMOUNTS:
            lines.append(f"amounts = {_table(AMOUNTS[name])}")
    path.write_text("\n".join(lines) + "\n")
    return path


def _table(values: object) -> str:
    """A TOML value."""
    if isinstance(values, dict):
        return "{ " + ", ".join(f"{name} = {_table(value)}" for name, value in values.items()) + " }"
    return str(list(values) if isinstance(values, tuple) else values).lower()
