"""Training of the causal transformer: every position predicts the items that follow it.

Matrices of the blocks move by Muon (Jordan et al. 2024; Liu et al. 2025, arXiv:2502.16982), all else by Adam: in small
batches, with vectors that start from co-occurrence, four epochs of ML-1M reach more than nine of Adam alone did.

The same code trains on the CPU and on one or more GPUs. Several processes take equal shares of each batch and add up
their gradients: but for dropout, of which each has its own, what is learned is what one would learn.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.utils import clip_grad_norm_, parameters_to_vector, vector_to_parameters
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.checkpoint import Checkpoint, fingerprint
from training.fit_teacher import cosine
from training.machine import CPU, CUDA, Machine, find_machine, share
from training.sequence.loss import Sampler, batch_loss
from training.sequence.sequences import Sequences
from training.sequence.transformer import NextItemTransformer, TransformerShape
from training.sequence.windows import batches

GRADIENT_NORM = 1.0
BETAS = (0.9, 0.98)


@dataclass(frozen=True)
class NextItemRecipe:
    shape: TransformerShape = field(default_factory=TransformerShape)
    epochs: int = 24
    positions: int = 1_600  # of a batch
    matrix_rate: float = 3e-3  # of the blocks' matrices, by Muon
    rate: float = 2e-3  # of all else, by Adam
    warm_up: int = 200  # steps
    weight_decay: float = 0.01
    future: tuple[float, ...] = (1.0,)  # weights of the next item, the one after it, ...
    average: float = 0.999  # decay of the weights' moving average, which is what is kept
    sampled_from: int = 100_000  # items of the smallest catalogue of which a batch sees only a sample
    uniform_draws: int = 8_192  # in such a sample, beside as many popular ones as the batch has targets


@dataclass(frozen=True)
class Epoch:
    number: int  # from 1
    loss: float
    positions: int  # targets learned from in this epoch


AfterEpoch = Callable[[Epoch, NextItemTransformer], None]


@dataclass(frozen=True)
class _Job:
    """What the first process hands the others."""

    model: NextItemTransformer  # on the CPU
    sequences: Sequences
    recipe: NextItemRecipe
    seed: int
    device: str
    state: dict | None  # of a checkpoint to go on from

    def follow(self) -> NextItemTransformer:
        """Train along, in a process that does not lead."""
        machine = find_machine(self.device)
        model = self.model.to(machine.device)
        return _fit(model, self.sequences, self.recipe, self.seed, machine, self.state, lambda *_: None, None)


def fit_next_item(
    model: NextItemTransformer,
    sequences: Sequences,
    recipe: NextItemRecipe,
    seed: int,
    after_epoch: AfterEpoch,
    checkpoint: Path | None = None,
    machine: Machine | None = None,
) -> NextItemTransformer:
    """Train, on whatever device the model lies.

    Args:
        model: to be trained in place.
        sequences: to learn from, the held-out events already removed.
        recipe: how long and how fast.
        seed: of windows, dropout and drawn items.
        after_epoch: called with what the epoch was and the averaged model.
        checkpoint: a file to go on from if it holds this training, kept after every epoch; nothing is kept without.
        machine: the leading one of several processes, the others of which follow what it shares; one without.

    Returns:
        The moving average of the weights (Polyak and Juditsky 1992), which generalises better than the last step's.

    Raises:
        RunError: if the checkpoint is damaged.
    """
    device = model.bias.device
    machine = machine or Machine(device, mixed_precision=device.type == CUDA)
    kept = None
    if checkpoint is not None:
        begun = (value.cpu().numpy() for value in model.state_dict().values())
        given = (recipe, seed, device.type, machine.processes, sequences.item, sequences.start)
        kept = Checkpoint(checkpoint, fingerprint(*given, *begun))
    state: dict | None = kept.load() if kept else None
    if machine.processes > 1:
        share(_Job(deepcopy(model).to(CPU), sequences, recipe, seed, device.type, state))
    return _fit(model, sequences, recipe, seed, machine, state, after_epoch, kept)


def _fit(
    model: NextItemTransformer,
    sequences: Sequences,
    recipe: NextItemRecipe,
    seed: int,
    machine: Machine,
    state: dict | None,
    after_epoch: AfterEpoch,
    kept: Checkpoint | None,
) -> NextItemTransformer:
    optimizers, rates = _optimizers(model, recipe)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.average))
    sampler = Sampler.of(sequences, recipe.uniform_draws) if sequences.items >= recipe.sampled_from else None
    first_epoch = batches(sequences, recipe.shape.length, recipe.positions, 1, np.random.default_rng(seed))
    steps = recipe.epochs * sum(1 for _ in first_epoch)  # others may have a batch more or less
    step, done = 0, 0
    if state is not None:
        model.load_state_dict(state["weights"])
        averaged.load_state_dict(state["averaged"])
        for name, optimizer in optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        step, done = state["step"], state["done"]
    for number in range(done + 1, recipe.epochs + 1):
        # Each epoch has generators of its own, so that a checkpoint need not hold any.
        rng = np.random.default_rng([seed, number])
        model.dropout.coins = np.random.Generator(np.random.SFC64([seed + machine.rank, number]))
        torch.manual_seed(int(rng.integers(2**62)) + machine.rank)
        model.train()
        losses, learned = [], 0
        for batch in batches(sequences, recipe.shape.length, recipe.positions, len(recipe.future), rng):
            for name, optimizer in optimizers.items():
                for group in optimizer.param_groups:
                    group["lr"] = float(rates[name] * cosine(min(step, steps), steps, recipe.warm_up))
            positions = int(batch.size.sum())
            drawn = sampler.draw(positions, rng) if sampler else None  # by every process alike, for the whole batch
            part, weight = batch.part(machine.rank, machine.processes)
            loss = weight * batch_loss(model, part, sequences, recipe.future, drawn, machine.mixed_precision)
            model.zero_grad()
            loss.backward()
            if machine.processes > 1:
                loss = _add_up(model, loss)
            clip_grad_norm_(model.parameters(), GRADIENT_NORM)
            for optimizer in optimizers.values():
                optimizer.step()
            averaged.update_parameters(model)
            losses.append(loss.item())
            learned += positions
            step += 1
        if kept:
            trained = {"weights": model.state_dict(), "averaged": averaged.state_dict(), "step": step, "done": number}
            kept.save({**trained, "optimizers": {name: each.state_dict() for name, each in optimizers.items()}})
        after_epoch(Epoch(number, float(np.mean(losses)), learned), averaged.module)
    return averaged.module.eval()


def _optimizers(
    model: NextItemTransformer, recipe: NextItemRecipe
) -> tuple[dict[str, torch.optim.Optimizer], dict[str, float]]:
    """One for the blocks' matrices and one for all else, and the rate of each."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and name.startswith("blocks")]
    others = [p for p in model.parameters() if all(p is not q for q in matrices)]
    optimizers: dict[str, torch.optim.Optimizer] = {
        "matrices": torch.optim.Muon(
            matrices, recipe.matrix_rate, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"
        ),
        "others": torch.optim.AdamW(others, recipe.rate, betas=BETAS, weight_decay=0.0),
    }
    return optimizers, {"matrices": recipe.matrix_rate, "others": recipe.rate}


def _add_up(model: NextItemTransformer, loss: torch.Tensor) -> torch.Tensor:
    """The loss of all processes, whose gradients become everybody's."""
    gradients = [parameter.grad for parameter in model.parameters()]
    sums = parameters_to_vector([*gradients, loss.detach()])
    dist.all_reduce(sums)
    vector_to_parameters(sums, gradients)
    return sums[-1]
