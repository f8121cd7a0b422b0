"""The training loop that every recipe uses: budget, schedule, checkpoints, curve and progress bar."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from torch import Tensor, nn

from anygpt.errors import DataLoss, Precondition
from services.trainer import checkpoint
from services.trainer.checkpoint import Progress
from services.trainer.curve import Curve
from services.trainer.device import mixed_precision, on_processors, untouched_randomness
from services.trainer.frozen import check_frozen, frozen_digest
from services.trainer.parameter_table import table, trained_rows
from services.trainer.processes import Processes, Step
from services.trainer.sheet import SAMPLES, Sample
from services.trainer.stopping import signals_put_off

Steps = Iterator[tuple[Progress, Tensor]]
PARAMETERS = "parameters.txt"
"""The table of trained and frozen parameters, in a run's folder."""


@dataclass(frozen=True)
class Run:
    """Where a run lives and how long it learns; it ends at `steps` or `minutes`, whichever comes first."""

    folder: Path
    steps: int
    minutes: float = math.inf
    learning_rate: float = 1e-3
    warmup: int = 50
    weight_decay: float = 0.01
    clip: float = 1.0
    bf16: bool = True
    seed: int = 0
    resume: bool = False
    save_every: int = 200
    log_every: int = 20
    sample_every: int = 0
    shards: int = 1
    """Parts of a step that processes can share; more than one changes what is drawn, so it belongs to the recipe."""

    @property
    def name(self) -> str:
        """Its stage and its own folder, as errors name it."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def saved(self) -> Path:
        """The file that a resume reads."""
        return self.folder / "checkpoint.safetensors"

    def is_sampled(self, step: int) -> bool:
        """Whether samples are drawn after a step, though it may not be the last."""
        return bool(self.sample_every) and step % self.sample_every == 0

    def done(self, progress: Progress) -> float:
        """Share of the budget that is spent, 0..1."""
        spent: float = max(progress.step / self.steps, progress.seconds / (60 * self.minutes))
        return min(1.0, spent)

    def rate(self, progress: Progress) -> float:
        """Learning rate now: linear warm-up, then a cosine down to 2 % over the budget."""
        warm = min(1.0, (progress.step + 1) / self.warmup)
        fading: float = 0.51 + 0.49 * math.cos(math.pi * self.done(progress))
        return self.learning_rate * warm * fading


@dataclass(frozen=True)
class Learner:
    """What a checkpoint is written of."""

    model: nn.Module
    optimiser: torch.optim.Optimizer
    frozen: str
    """The digest of what is not trained, as a pack keeps it."""


def train(run: Run, model: nn.Module, step: Step, sample: Sample | None = None) -> Progress:
    """Minimise `step` over the trainable weights of `model`; with `resume`, go on from the last checkpoint.

    What `sample` shows is drawn every `sample_every` steps and at the end.

    A budget in steps gives the same curve with and without a stop; a budget in minutes depends on the machine. SIGINT
    and SIGTERM are heard between two steps; whatever else ends a run within one leaves the last checkpoint.

    Raises DataLoss where the loss or a trained weight is no number any more; the last checkpoint stays. Raises
    Precondition where a run would go on with other frozen weights than it had.
    """
    torch.manual_seed(run.seed)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    processes = Processes(weights[0].device, run.shards, run.seed)
    processes.start_alike(weights)
    fused = not on_processors(weights[0].device)
    optimiser = torch.optim.AdamW(
        weights,
        lr=run.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=run.weight_decay,
        foreach=not fused,
        fused=fused,
    )
    frozen, learner = frozen_digest(model), Learner(model, optimiser, checkpoint.frozen_as_kept(model))
    start = _resumed(run, learner) if run.resume and run.saved.exists() else Progress()
    model.train()
    with signals_put_off() as let_in:
        steps = _steps(run, step, optimiser, processes, start, let_in)
        progress = (
            _recorded(run, learner, steps, start, sample) if processes.is_main else _followed(steps, start)
        )
    processes.wait()
    check_frozen(model, frozen)
    model.eval()
    return progress


def _resumed(run: Run, learner: Learner) -> Progress:
    """Where the last checkpoint was, put back; what has no step left to take cannot learn from other weights."""
    progress, before = checkpoint.facts(run.saved)
    if before != learner.frozen and run.done(progress) < 1.0:
        raise Precondition(
            f"{run.name} cannot go on: what is frozen in it is not what it was at step {progress.step}",
            reason="CHECKPOINT_MISMATCH", field=run.saved.name,
        )  # fmt: skip
    return checkpoint.load(run.saved, learner.model, learner.optimiser)


def _recorded(run: Run, learner: Learner, steps: Steps, start: Progress, sample: Sample | None) -> Progress:
    """Take every step, and keep curve, checkpoints, samples and a table of what is trained."""
    progress, loss, curve, model = start, torch.zeros(()), Curve(run.folder), learner.model

    def save() -> None:
        if progress == start:
            return
        _check_finite(run, model, progress, loss)
        checkpoint.save(run.saved, model, learner.optimiser, progress, learner.frozen)

    curve.start(start.step)
    _keep_table(run, model)
    with _bar(run) as report:
        try:
            for progress, loss in steps:
                report(progress, loss)
                if progress.step % run.log_every == 0:
                    curve.add(progress.step, progress.seconds, loss.item())
                if progress.step % run.save_every == 0:
                    save()
                if sample and run.is_sampled(progress.step):
                    _sampled(run, model, sample, progress)
        except (KeyboardInterrupt, SystemExit):
            save()
            raise
    save()
    curve.plot()
    if sample and not run.is_sampled(progress.step):
        _sampled(run, model, sample, progress)
    return progress


def _check_finite(run: Run, model: nn.Module, progress: Progress, loss: Tensor) -> None:
    """Raise DataLoss for what nobody could go on from."""
    trained = (weight for weight in model.parameters() if weight.requires_grad)
    if not all(values.isfinite().all() for values in (loss, *trained)):
        raise DataLoss(
            f"{run.name} diverged by step {progress.step}, its last checkpoint stays: try a lower learning_rate",
            reason="DIVERGED", field=run.name,
        )  # fmt: skip


def _followed(steps: Steps, start: Progress) -> Progress:
    """Take every step, and keep nothing."""
    last = deque(steps, maxlen=1)
    return last[0][0] if last else start


def _keep_table(run: Run, model: nn.Module) -> None:
    with (run.folder / PARAMETERS).open("w", encoding="utf-8") as file:
        Console(file=file, width=100).print(table(run.folder.name, trained_rows(model)))


def _steps(
    run: Run, step: Step, optimiser: torch.optim.Optimizer, processes: Processes, progress: Progress,
    let_in: Callable[[], None],
) -> Steps:  # fmt: skip
    """Optimiser steps until the budget is spent; the clock runs only inside them, and signals come behind them."""
    weights: list[nn.Parameter] = optimiser.param_groups[0]["params"]
    precision = mixed_precision(run.bf16)

    def mixed(number: int) -> Tensor:
        with precision:
            return step(number)

    while run.done(progress) < 1.0:
        began = time.monotonic()
        for group in optimiser.param_groups:
            group["lr"] = run.rate(progress)
        optimiser.zero_grad(set_to_none=True)
        loss = processes.backward(mixed, progress.step, weights)
        nn.utils.clip_grad_norm_(weights, run.clip)
        optimiser.step()
        seconds = processes.mean(time.monotonic() - began)
        progress = Progress(progress.step + 1, progress.seconds + seconds)
        yield progress, loss
        let_in()


def _sampled(run: Run, model: nn.Module, sample: Sample, progress: Progress) -> None:
    """Let a recipe look at the model without a trace in the run's randomness."""
    model.eval()
    with torch.no_grad(), untouched_randomness():
        sheet = sample()
    model.train()
    print(f"{run.folder.name} step {progress.step}: {sheet.told}", flush=True)
    sheet.save(run.folder / SAMPLES)


@contextmanager
def _bar(run: Run) -> Iterator[Callable[[Progress, Tensor], None]]:
    """A progress bar on a terminal, a line every hundred steps in a log."""
    console = Console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("step {task.fields[step]} loss {task.fields[loss]:.4f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(run.folder.name, total=1.0, step=0, loss=math.nan)

        def report(progress: Progress, loss: Tensor) -> None:
            if console.is_terminal:
                bar.update(task, completed=run.done(progress), step=progress.step, loss=loss.item())
            elif progress.step % 100 == 0:
                console.print(
                    f"{run.folder.name} step {progress.step} {progress.seconds:.0f} s loss {loss.item():.4f}"
                )

        yield report
