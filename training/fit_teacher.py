"""Training of the teacher: baskets by sampled softmax, new items towards their neighbours' votes.

The same code trains on the CPU and on one or more GPUs. Several processes take equal shares of each batch, draw the
same candidates, and average their gradients (DistributedDataParallel): what is learned is what one would learn.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 the name everyone knows
from numpy.typing import NDArray
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from training.checkpoint import Checkpoint, fingerprint, random_states, restore_random_states
from training.examples import Batch, Examples
from training.machine import CPU, Machine, find_machine, share
from training.new_item_labels import NewItemLabels
from training.sampled_softmax import Candidates, basket_loss, draw_candidates, new_item_loss
from training.teacher import Teacher, TeacherShape, tensors

UNIFORM_DRAWS = 2048
WARM_UP_STEPS = 30
GRADIENT_NORM = 1.0
FINAL_RATE = 0.02  # of the learning rate, where the cosine ends
CHECKPOINT_SECONDS = 30.0  # between two checkpoints; what a killed training loses at most


@dataclass(frozen=True)
class TeacherRecipe:
    shape: TeacherShape = field(default_factory=TeacherShape)
    steps: int = 300
    batch: int = 256
    rate: float = 5e-3
    copy_rate: float = 1e-3  # of the copy head, which starts from frequency and needs only be refined
    new_item_weight: float = 2.0
    hidden_tokens: float = 0.1  # chance of a token to be hidden from the query


@dataclass(frozen=True)
class Fit:
    """What training did."""

    losses: list[tuple[float, float]]  # basket and new-item loss of every step
    positions: int  # targets learned from, since this process began or went on
    seconds: float  # that these took

    @property
    def positions_per_second(self) -> float:
        return self.positions / max(self.seconds, 1e-9)


@dataclass(frozen=True)
class _Job:
    """What the first process hands the others."""

    teacher: Teacher
    recipe: TeacherRecipe
    examples: Examples
    labels: NewItemLabels
    seed: int
    device: str
    checkpoint_seconds: float
    state: dict | None  # of a checkpoint to go on from

    def follow(self) -> Fit:
        return _fit(self, lambda what, done, total: None, None)


def cosine(step: int, steps: int, warm_up: int = WARM_UP_STEPS) -> float:
    """Share of the learning rate at a step: linear warm-up, then half a cosine."""
    rising = min(1.0, (step + 1) / max(warm_up, 1))
    return rising * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + np.cos(np.pi * step / max(steps, 1))))


def fit_teacher(
    teacher: Teacher,
    recipe: TeacherRecipe,
    examples: Examples,
    labels: NewItemLabels,
    seed: int,
    progress: Callable[[str, int, int], None],
    *,
    device: str = CPU,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Fit:
    """Train in place; the teacher is on the CPU before and after.

    Args:
        teacher: to be trained.
        recipe: how long and how fast.
        examples: n examples, drawn so that every person counts the same.
        labels: of the same n examples.
        seed: of the batches, candidates and dropout.
        progress: called with what is done and how fast, steps done and all steps.
        device: see `training.machine.find_machine`.
        checkpoint: a file to go on from if it holds this training, and to keep it in; nothing is kept without.
        checkpoint_seconds: between two checkpoints.

    Raises:
        RunError: if the checkpoint is damaged.
        ConfigError: if there is no such device.
    """
    kept = None
    if checkpoint is not None:
        machine = find_machine(device)
        weights = (value.numpy() for value in teacher.state_dict().values())
        given = (recipe, seed, machine.device.type, machine.processes, examples.baskets, labels.items, labels.share)
        kept = Checkpoint(checkpoint, fingerprint(*given, *weights))
    state = kept.load() if kept else None
    job = _Job(teacher, recipe, examples, labels, seed, device, checkpoint_seconds if kept else np.inf, state)
    share(job)
    return _fit(job, progress, kept)


class _Losses(nn.Module):
    """Both losses of one process's share of a batch, as one module for DistributedDataParallel to wrap."""

    def __init__(self, teacher: Teacher, machine: Machine, hidden_tokens: float) -> None:
        super().__init__()
        self.teacher, self.machine, self.hidden_tokens = teacher, machine, hidden_tokens

    def forward(
        self, batch: Batch, candidates: Candidates, items: NDArray[np.int32], shares: NDArray[np.float32]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        teacher, device = self.teacher, self.machine.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.machine.mixed_precision):
            catalogue = teacher.catalogue()
            query, base, gain = teacher(catalogue, *tensors(batch.histories, device), drop=self.hidden_tokens)
            sampled = torch.from_numpy(candidates.items).to(device)
            scores = (query @ F.embedding(sampled, catalogue).T + teacher.popularity[sampled]).float()
        return (
            basket_loss(batch, candidates, scores, base.float(), gain.float()),
            new_item_loss(batch, candidates, scores, items, shares),
        )


def _optimizer(teacher: Teacher, recipe: TeacherRecipe) -> torch.optim.AdamW:
    copy = [*teacher.copy.parameters(), *teacher.copy_linear.parameters(), teacher.repeat]
    others = [p for p in teacher.parameters() if p.requires_grad and all(p is not q for q in copy)]
    return torch.optim.AdamW([{"params": others}, {"params": copy, "weight_decay": 0.0}], lr=recipe.rate)


def _share_of_targets(teacher: Teacher) -> NDArray[np.float64]:
    """float64 [items + 1]: the distribution that targets come from."""
    found = np.exp(teacher.popularity.detach().numpy().astype(np.float64))
    found[0] = 0.0
    return found / found.sum()


def _fit(job: _Job, progress: Callable[[str, int, int], None], kept: Checkpoint | None) -> Fit:
    teacher, recipe, examples, labels = job.teacher, job.recipe, job.examples, job.labels
    machine = find_machine(job.device)
    torch.manual_seed(job.seed + machine.rank)
    rng = np.random.default_rng(job.seed)
    popularity = _share_of_targets(teacher)
    teacher.to(machine.device).train()
    optimizer = _optimizer(teacher, recipe)
    losses: list[tuple[float, float]] = []
    if job.state is not None:
        teacher.load_state_dict(job.state["weights"])
        optimizer.load_state_dict(job.state["optimizer"])
        rng.bit_generator.state = job.state["rng"]
        restore_random_states(job.state["random"], machine)
        losses = [(first, second) for first, second in job.state["losses"]]
    step_losses: nn.Module = _Losses(teacher, machine, recipe.hidden_tokens)
    if machine.processes > 1:
        step_losses = DistributedDataParallel(step_losses, forward_sync_buffers=False)
    started, positions = time.monotonic(), 0
    due = _due(job.checkpoint_seconds)
    for step in range(len(losses), recipe.steps):
        for group, rate in zip(optimizer.param_groups, (recipe.rate, recipe.copy_rate), strict=True):
            group["lr"] = float(rate * cosine(step, recipe.steps))
        rows = np.sort(rng.integers(0, len(examples), recipe.batch))
        batch = examples.batch(rows)
        labelled = np.concatenate([batch.target, labels.items[rows].ravel()]).astype(np.int64)
        candidates = draw_candidates(labelled, popularity, UNIFORM_DRAWS, rng)
        own = rows[machine.rank :: machine.processes]
        part = batch if machine.processes == 1 else examples.batch(own)
        baskets, new = step_losses(part, candidates, labels.items[own], labels.share[own])
        optimizer.zero_grad()
        loss = baskets + recipe.new_item_weight * new
        if machine.processes > 1:  # gradients are averaged over processes, of which some may have one example less
            loss = loss * (len(own) * machine.processes / len(rows))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(teacher.parameters(), GRADIENT_NORM)
        optimizer.step()
        losses.append((baskets.item(), new.item()))
        positions += len(batch.target)
        speed = positions / (time.monotonic() - started)
        progress(f"train the teacher, {speed:,.0f} targets/s", step + 1, recipe.steps)
        if job.checkpoint_seconds < np.inf and share(next(due) or step + 1 == recipe.steps):
            random = random_states(machine)
            if kept:
                weights, moments = teacher.state_dict(), optimizer.state_dict()
                state = {"weights": weights, "optimizer": moments, "rng": rng.bit_generator.state, "random": random}
                kept.save({**state, "losses": losses})
    seconds = time.monotonic() - started
    teacher.to(CPU).eval()
    return Fit(losses, positions, seconds)


def _due(seconds: float) -> Iterator[bool]:
    """Whether so much time has passed since the last time that it had."""
    last = time.monotonic()
    while True:
        passed = time.monotonic() - last >= seconds
        if passed:
            last = time.monotonic()
        yield passed
