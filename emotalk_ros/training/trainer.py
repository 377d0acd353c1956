"""The training loop: from a recipe to `OUTPUT/model`, on one device or many, interruptible at any moment.

A run's folder::

    recipe.yaml          the whole recipe, what it extended filled in
    splits.yaml          which actors were trained on and validated
    log.jsonl            one line per logged step and validation
    tensorboard/
    checkpoints/step-*/  everything a resumed run needs
    best/                the best model so far by validation loss
    model/               the finished model with its card and, if labels allow, emotion prototypes

The data of step k are a pure function of the recipe and k, torch's generators are seeded anew for each step, and the
learning rate is computed from k: so nothing but weights and optimiser state has to come back for the same loss curve.
"""

from __future__ import annotations

import math
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed
from rich.console import Console
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from emotalk_ros.face import FaceBasis
from emotalk_ros.files import LEFTOVERS, recover_folder, replacing_folder, write_text
from emotalk_ros.model import load_model
from emotalk_ros.terminal import Terminal
from emotalk_ros.training.ahead import batches_ahead
from emotalk_ros.training.card import write_card
from emotalk_ros.training.checkpoints import (
    CheckpointDamagedError,
    CheckpointState,
    Progress,
    WeightMean,
    check_sums,
    checkpoints,
    optimizer_tensors,
    read_checkpoint,
    restore_optimizer,
    set_aside,
    write_checkpoint,
    write_sums,
)
from emotalk_ros.training.data import Batch
from emotalk_ros.training.encoded import EncodedSampler
from emotalk_ros.training.losses import TERMS, Objective
from emotalk_ros.training.models import build_model, teacher_of
from emotalk_ros.training.precision import mixed_precision
from emotalk_ros.training.prototypes import expression_centres, store_prototypes
from emotalk_ros.training.recipe import Recipe, RecipeError
from emotalk_ros.training.run_data import Data
from emotalk_ros.training.runlog import RunLog
from emotalk_ros.training.validation import Validator


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended."""

    folder: Path
    model: Path | None
    """The finished model; None when the run was interrupted."""
    steps: int
    interrupted: bool
    stopped_early: bool
    validation: dict[str, float] = field(default_factory=dict)
    """What was measured at the best step (empty without validation clips)."""
    steps_per_second: float = 0.0


class Trainer:
    """One run of one recipe in `folder`."""

    def __init__(self, recipe: Recipe, folder: Path, resume: bool = False, console: Console | None = None) -> None:
        self.recipe = recipe
        self.folder = folder
        self.console = console
        # The precision of an earlier run of this process (a table trains several networks) does not bind this one.
        AcceleratorState._reset_state()
        self.accelerator = Accelerator(
            mixed_precision=mixed_precision(recipe.optim.precision),
            # The memory attention's query and key never act, baselines skip terms: some parameters get no gradient.
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        disable_progress_bar()  # transformers' own, for every little file
        self._check_batch()
        self._claim_folder(resume)
        set_seed(recipe.seed)
        model = build_model(recipe.model)
        self.data = Data(recipe, folder, model)
        if recipe.run.workers > 0:
            self.data.store.preload(recipe.run.workers)
        self.steps = self.data.sampler.steps
        self.progress = Progress(sums=[0.0] * (len(TERMS) + 1))
        self.mean = WeightMean(model.to(self.accelerator.device), recipe.optim.ema) if recipe.optim.ema > 0 else None
        self.optimizer = _optimizer(model, recipe)
        centres = expression_centres(self.data.train, model) if recipe.loss.expression > 0 else None
        teacher = teacher_of(model, recipe.model) if recipe.loss.distillation > 0 else None
        objective = Objective(model, recipe.loss, centres, teacher and teacher.to(self.accelerator.device))
        self.encoded: EncodedSampler | None = None
        if recipe.data.encoded:
            self.encoded = EncodedSampler(self.data.sampler, model, recipe.data.encoded)
        self.objective, self.optimizer = self.accelerator.prepare(objective, self.optimizer)
        self._stop = threading.Event()
        self._saved_at = time.monotonic()
        if resume:
            self._restore()
        if self.accelerator.is_main_process:
            write_text(folder / "recipe.yaml", recipe.to_yaml())
            self.data.split.write(folder / "splits.yaml")

    @property
    def model(self) -> PreTrainedModel:
        """The network itself, without what wraps it."""
        return self.accelerator.unwrap_model(self.objective).model

    # -- the loop -------------------------------------------------------------------------------------------

    def run(self) -> TrainingResult:
        """Trains to the end, or until interrupted (SIGINT, SIGTERM: finishes the step and writes a checkpoint)."""
        validator = None
        if self.data.validation is not None:
            validator = Validator(self.data.validation, self.recipe.run.validation_windows, _face())
        start = self.progress.step
        log = RunLog(self.folder, self.steps, start, self.accelerator.is_main_process, self.console)
        stopped_early = False
        steps, workers = range(start, self.steps), self.recipe.run.workers
        with log, self._signals(log), batches_ahead(self._parts, steps, workers) as batches:
            self._announce(log, validator)
            began = time.monotonic()
            for parts in batches:
                stop = self._step(parts)
                self.progress.seconds += time.monotonic() - began
                self._log(log)
                stopped_early = self._validate(validator, log)
                if stop:
                    break
                self._checkpoint_if_due()
                if stopped_early:
                    break
                began = time.monotonic()
            interrupted = self.progress.step < self.steps and not stopped_early
            rate = log.rate(self.progress.step)
            if interrupted or self.progress.step % self.recipe.run.checkpoint_every:
                self._save()
            if interrupted:
                log.say(f"interrupted after step {self.progress.step}: checkpoint written, go on with --resume")
            model = None if interrupted else self._finish(log)
        return TrainingResult(
            self.folder, model, self.progress.step, interrupted, stopped_early, dict(self.progress.validation), rate
        )

    def _parts(self, step: int) -> list[Batch]:
        """This process's batches of `step`."""
        accelerator = self.accelerator
        return (self.encoded or self.data.sampler).parts(step, accelerator.process_index, accelerator.num_processes)

    def _step(self, parts: list[Batch]) -> bool:
        """One optimiser step; true when any process was asked to stop."""
        accelerator, step = self.accelerator, self.progress.step
        counts, stop = self._global_counts(parts)
        # A seed a step, so that dropout does not depend on how the run got here.
        set_seed(self.recipe.seed * 1_000_003 + step, device_specific=True)
        rate = learning_rate(self.recipe, step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        sums = torch.zeros(len(TERMS) + 1, device=accelerator.device)
        for k, part in enumerate(parts):
            last = k == len(parts) - 1
            with nullcontext() if last else accelerator.no_sync(self.objective):
                with accelerator.autocast():
                    loss, terms, _ = self.objective(part.to(accelerator.device), counts)
                # Wrappers take the mean over processes; the terms are already divided by the whole step's counts.
                accelerator.backward(loss * accelerator.num_processes)
            sums += torch.cat([loss.detach()[None], terms])
        if not torch.isfinite(sums[0]):
            raise FloatingPointError(
                f"the loss is not finite at step {step}: lower optim.lr, or set optim.precision to no "
                "(the last checkpoint is kept)"
            )
        if self.recipe.optim.clip is not None:
            accelerator.clip_grad_norm_(self.objective.parameters(), self.recipe.optim.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.progress.step += 1
        self.progress.since_log += 1
        self.progress.sums = [a + b for a, b in zip(self.progress.sums, sums.tolist(), strict=True)]
        if self.mean is not None:
            self.mean.update(self.progress.step)
        return stop

    def _global_counts(self, parts: list[Batch]) -> tuple[torch.Tensor, bool]:
        """(terms,) counts of each term over the whole step, and whether a process was asked to stop."""
        totals = [sum(part.counts()[name] for part in parts) for name in TERMS]
        local = torch.tensor([*totals, float(self._stop.is_set())], device=self.accelerator.device)
        every = self.accelerator.reduce(local, "sum")
        return every[:-1], bool(every[-1] > 0)

    # -- between steps --------------------------------------------------------------------------------------

    def _log(self, log: RunLog) -> None:
        progress = self.progress
        log.advance(progress.step)
        if progress.step % self.recipe.run.log_every and progress.step != self.steps:
            return
        sums = self.accelerator.reduce(torch.tensor(progress.sums, device=self.accelerator.device), "sum").tolist()
        names = [name for name in TERMS if getattr(self.recipe.loss, name) > 0]
        values = {"loss": sums[0] / progress.since_log}
        values |= {name: sums[1 + TERMS.index(name)] / progress.since_log for name in names}
        values["lr"] = self.optimizer.param_groups[0]["lr"]
        log.record(progress.step, "train", values)
        progress.sums, progress.since_log = [0.0] * len(progress.sums), 0

    def _validate(self, validator: Validator | None, log: RunLog) -> bool:
        """Validates when due; true when the run should stop early."""
        progress, run = self.progress, self.recipe.run
        if validator is None or (progress.step % run.validate_every and progress.step != self.steps):
            return False
        with self.mean.applied() if self.mean else nullcontext():
            metrics = validator(self.accelerator.unwrap_model(self.objective), self.accelerator)
            better = metrics["loss"] < progress.best
            if better:
                progress.best, progress.best_step, progress.bad = metrics["loss"], progress.step, 0
                progress.validation = metrics
                self._save_model(self.folder / "best")
            else:
                progress.bad += 1
        log.record(progress.step, "validation", metrics)
        if run.patience is not None and progress.bad >= run.patience:
            log.say(f"no improvement in {progress.bad} validations: stopped (best at step {progress.best_step})")
            return True
        return False

    def _checkpoint_if_due(self) -> None:
        run = self.recipe.run
        due = self.progress.step % run.checkpoint_every == 0
        if self.accelerator.num_processes == 1:  # clocks of several processes disagree
            due = due or time.monotonic() - self._saved_at > 60 * run.checkpoint_minutes
        if due:
            self._save()

    def _save(self) -> None:
        sums = self.accelerator.reduce(torch.tensor(self.progress.sums, device=self.accelerator.device), "sum").tolist()
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            state = CheckpointState(
                self.accelerator.unwrap_model(self.objective).state_dict(),
                optimizer_tensors(self.optimizer),
                self.mean.tensors() if self.mean else None,
                replace(self.progress, sums=sums),
                scaler.state_dict() if scaler is not None else None,
            )
            write_checkpoint(self.folder / "checkpoints", state, self.recipe.run.keep)
        self.accelerator.wait_for_everyone()
        self._saved_at = time.monotonic()

    def _save_model(self, folder: Path) -> None:
        if self.accelerator.is_main_process:
            with replacing_folder(folder) as part:
                self.model.save_pretrained(part)
                write_sums(part)
        self.accelerator.wait_for_everyone()

    def _finish(self, log: RunLog) -> Path:
        """Writes `model/`: the best weights (the last where nothing was validated), prototypes and card."""
        final = self.folder / "model"
        if self.accelerator.is_main_process:
            model = self._best(log)
            if model is None:
                model = self.model
                if self.mean is not None:
                    self.mean.apply()
            prototypes: dict[str, int] = {}
            if self.recipe.run.prototypes:
                prototypes = store_prototypes(model, self.data.train)
            if self.recipe.run.half:
                model = model.half()
            with replacing_folder(final) as part:
                model.save_pretrained(part)
                write_card(part, self.recipe, self.data, model, self.progress, prototypes)
            log.say(f"finished: {final}")
        self.accelerator.wait_for_everyone()
        return final

    def _best(self, log: RunLog) -> PreTrainedModel | None:
        """The best model that was validated; None where there is none, or it is damaged (which is said)."""
        best = self.folder / "best"
        if not (self.progress.validation and best.is_dir()):
            return None
        try:
            check_sums(best)
            return load_model(best).to(self.accelerator.device).train()
        except (ValueError, OSError) as error:
            log.say(f"{best} is damaged ({error}): the last weights are kept, not the best")
            return None

    # -- starting and stopping ------------------------------------------------------------------------------

    def _check_batch(self) -> None:
        optim, processes = self.recipe.optim, self.accelerator.num_processes
        if optim.batch_size % (processes * optim.accumulate):
            raise RecipeError(
                f"optim.batch_size {optim.batch_size} counts all processes: it must be a multiple of {processes} "
                f"processes times optim.accumulate {optim.accumulate} "
                f"(try --set optim.batch_size={processes * optim.accumulate})"
            )

    def _claim_folder(self, resume: bool) -> None:
        if self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in ("best", "model"):
                recover_folder(self.folder / name)
            for torn in (*self.folder.glob(LEFTOVERS), *(self.folder / "checkpoints").glob(LEFTOVERS)):
                shutil.rmtree(torn, ignore_errors=True)
        found = checkpoints(self.folder / "checkpoints")
        if resume and not found:
            raise RecipeError(f"{self.folder} holds no checkpoint to resume from: leave out --resume")
        if not resume and (found or (self.folder / "model").exists()):
            raise RecipeError(f"{self.folder} already holds a run: go on with --resume, or choose another --output")
        self.accelerator.wait_for_everyone()

    def _restore(self) -> None:
        """Goes on from the newest checkpoint that is intact, and says which are not."""
        latest, state = self._newest_intact()
        try:
            objective = self.accelerator.unwrap_model(self.objective)
            if (self.mean is None) != (state.mean is None):
                raise ValueError(
                    f"it has {'no' if state.mean is None else 'a'} running mean of the weights (optim.ema)"
                )
            if len(state.progress.sums) != len(self.progress.sums):
                raise ValueError(f"its log has {len(state.progress.sums)} terms, not {len(self.progress.sums)}")
            if self.mean is not None and state.mean is not None:
                self.mean.check(state.mean)
            objective.load_state_dict(state.network)
            restore_optimizer(self.optimizer, state.optimizer)
        except (RuntimeError, ValueError, KeyError) as error:
            raise RecipeError(
                f"{latest} does not fit this recipe: go on with {self.folder / 'recipe.yaml'} "
                f"({str(error).splitlines()[0]})"
            ) from error
        if self.mean is not None and state.mean is not None:
            self.mean.restore(state.mean)
        if self.accelerator.scaler is not None and state.scaler is not None:
            self.accelerator.scaler.load_state_dict(state.scaler)
        if not self.accelerator.is_main_process:  # the sums are those of all processes
            state.progress.sums = [0.0] * len(state.progress.sums)
        self.progress = state.progress

    def _newest_intact(self) -> tuple[Path, CheckpointState]:
        """Raises RecipeError where no checkpoint is intact."""
        damaged: list[tuple[Path, str]] = []
        for folder in reversed(checkpoints(self.folder / "checkpoints")):
            try:
                state = read_checkpoint(folder)
                break
            except CheckpointDamagedError as error:
                damaged.append((folder, str(error)))
        else:
            found = "; ".join(f"{folder.name}: {reason}" for folder, reason in damaged)
            raise RecipeError(
                f"no checkpoint in {self.folder / 'checkpoints'} is intact ({found}): train anew with another --output"
            )
        self.accelerator.wait_for_everyone()  # all have read before anything is renamed
        if self.accelerator.is_main_process:
            for torn, reason in damaged:
                text = (
                    f"{torn} is damaged ({reason}) and was renamed {set_aside(torn).name}; going on from {folder.name}"
                )
                (self.console or Terminal(stderr=True)).print(text)
        return folder, state

    def _announce(self, log: RunLog, validator: Validator | None) -> None:
        data, accelerator = self.data, self.accelerator
        learning = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        paired = sum(data.train.pairs.has_pair(k) for k in range(len(data.train.members)))
        hours = sum(data.store.records[i].duration for i in data.indices["train"]) / 3600
        log.say(
            f"{self.recipe.name}: {learning / 1e6:.2f} M learning parameters on {accelerator.num_processes} x "
            f"{accelerator.device.type} ({torch.get_num_threads()} threads, precision {accelerator.mixed_precision})"
        )
        log.say(
            f"{len(data.train.members)} clips, {hours:.2f} h, {paired} with pseudo pairs; "
            f"{len(data.indices['validation'])} clips validate; {data.sampler.epoch_length} samples an epoch"
        )
        log.say(f"loss weights: {', '.join(f'{name} {getattr(self.recipe.loss, name):g}' for name in TERMS)}")
        if validator is None:
            log.say("no actor is left for validation: the last weights are kept, not the best")

    @contextmanager
    def _signals(self, log: RunLog) -> Iterator[None]:
        """Inside the block the first SIGINT or SIGTERM asks for a stop after the step, the second acts as usual."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, frame: Any) -> None:
            self._stop.set()
            for one, previous in before.items():
                signal.signal(one, previous)
            log.say("stopping after this step (once more: at once) ...")

        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            signal.signal(number, handle)
        try:
            yield
        finally:
            for number, previous in before.items():
                signal.signal(number, previous)


def train(
    recipe: Recipe, output: str | Path | None = None, resume: bool = False, console: Console | None = None
) -> TrainingResult:
    """Trains `recipe` in the folder `output` (default: the recipe's, else `runs/<name>`).

    Raises RecipeError, CorpusError or SplitError, each naming what is wrong, before any step is taken.
    """
    folder = Path(output or recipe.output or Path("runs") / recipe.name)
    return Trainer(recipe, folder, resume, console).run()


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Rate of step `step` (from 0) of `steps`: linear warm-up, then constant or half a cosine down to `final_lr`."""
    optim = recipe.optim
    if step < optim.warmup:
        return optim.lr * (step + 1) / optim.warmup
    if optim.schedule == "constant":
        return optim.lr
    share = (step - optim.warmup) / max(1, steps - optim.warmup)
    return optim.lr * (optim.final_lr + (1 - optim.final_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


def _optimizer(model: PreTrainedModel, recipe: Recipe) -> torch.optim.Optimizer:
    """Adam or AdamW; vectors (biases, norms) do not decay."""
    learning = [p for p in model.parameters() if p.requires_grad]
    decay = recipe.optim.weight_decay
    groups = [
        {"params": [p for p in learning if p.dim() > 1], "weight_decay": decay},
        {"params": [p for p in learning if p.dim() <= 1], "weight_decay": 0.0},
    ]
    kind = torch.optim.Adam if recipe.optim.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=recipe.optim.lr, betas=recipe.optim.betas)


def _face() -> FaceBasis | None:
    """The package's own face, for errors in mm."""
    try:
        from emotalk_ros.face.default.face import default_face

        return default_face()
    except (ImportError, TypeError):
        return None
