"""The recipe of the accelerator at a size that processors bear: two steps of every stage, on tiny data."""

from __future__ import annotations

from pathlib import Path

from services.trainer.mini import all_stages
from services.trainer.stage_config import GPU, read_config

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
    lines = []
    for name, config in read_config(GPU, all_stages()).items():
        lines += [f'["{name}"]', f"steps = {STEPS}", "save_every = 1", "log_every = 1"]
        if config.sizes:
            lines.append(f"sizes = {_table(config.sizes)}")
        if name in AMOUNTS:
            lines.append(f"amounts = {_table(AMOUNTS[name])}")
    path.write_text("\n".join(lines) + "\n")
    return path


def _table(values: object) -> str:
    """A TOML value."""
    if isinstance(values, dict):
        return "{ " + ", ".join(f"{name} = {_table(value)}" for name, value in values.items()) + " }"
    return str(list(values) if isinstance(values, tuple) else values).lower()
