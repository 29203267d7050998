"""Training of the causal transformer: every position predicts the items that follow it.

Matrices of the blocks move by Muon (Jordan et al. 2024; Liu et al. 2025, arXiv:2502.16982), all else by Adam: in small
batches, with vectors that start from co-occurrence, four epochs of ML-1M reach what thirty of Adam alone did.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.checkpoint import Checkpoint, fingerprint
from training.fit_teacher import cosine
from training.sequence.linear_cross_entropy import linear_cross_entropy
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


@dataclass(frozen=True)
class Epoch:
    number: int  # from 1
    loss: float
    positions: int  # targets learned from in this epoch


def fit_next_item(
    model: NextItemTransformer,
    sequences: Sequences,
    recipe: NextItemRecipe,
    seed: int,
    after_epoch: Callable[[Epoch, NextItemTransformer], None],
    checkpoint: Path | None = None,
) -> NextItemTransformer:
    """Train, on whatever device the model lies.

    Args:
        model: to be trained in place.
        sequences: to learn from, the held-out events already removed.
        recipe: how long and how fast.
        seed: of windows and dropout.
        after_epoch: called with what the epoch was and the averaged model.
        checkpoint: a file to go on from if it holds this training, kept after every epoch; nothing is kept without.

    Returns:
        The moving average of the weights (Polyak and Juditsky 1992), which generalises better than the last step's.

    Raises:
        RunError: if the checkpoint is damaged.
    """
    device = model.bias.device
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and name.startswith("blocks")]
    others = [p for p in model.parameters() if all(p is not q for q in matrices)]
    optimizers: dict[str, torch.optim.Optimizer] = {
        "matrices": torch.optim.Muon(
            matrices, recipe.matrix_rate, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"
        ),
        "others": torch.optim.AdamW(others, recipe.rate, betas=BETAS, weight_decay=0.0),
    }
    rates = {"matrices": recipe.matrix_rate, "others": recipe.rate}
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.average))
    weight = torch.tensor(recipe.future, device=device)
    first_epoch = batches(sequences, recipe.shape.length, recipe.positions, 1, np.random.default_rng(seed))
    steps = recipe.epochs * sum(1 for _ in first_epoch)  # others may have a batch more or less
    kept = None
    if checkpoint is not None:
        begun = (value.cpu().numpy() for value in model.state_dict().values())
        kept = Checkpoint(checkpoint, fingerprint(recipe, seed, device.type, sequences.item, sequences.start, *begun))
    state: dict | None = kept.load() if kept else None
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
        model.dropout.coins = np.random.Generator(np.random.SFC64([seed, number]))
        torch.manual_seed(int(rng.integers(2**62)))
        model.train()
        losses, learned = [], 0
        for batch in batches(sequences, recipe.shape.length, recipe.positions, len(recipe.future), rng):
            for name, optimizer in optimizers.items():
                for group in optimizer.param_groups:
                    group["lr"] = float(rates[name] * cosine(min(step, steps), steps, recipe.warm_up))
            targets = torch.from_numpy(batch.targets).to(device)
            known = targets[..., 0] > 0
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                hidden = model(torch.from_numpy(batch.items).to(device), torch.from_numpy(batch.size).to(device))
            wanted = targets[known]
            share = weight * (wanted > 0)
            loss = linear_cross_entropy(
                hidden[known].float(), model.table.weight, model.bias, wanted, share / share.sum(1, keepdim=True)
            )
            model.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
            for optimizer in optimizers.values():
                optimizer.step()
            averaged.update_parameters(model)
            losses.append(loss.item())
            learned += len(wanted)
            step += 1
        if kept:
            trained = {"weights": model.state_dict(), "averaged": averaged.state_dict(), "step": step, "done": number}
            kept.save({**trained, "optimizers": {name: each.state_dict() for name, each in optimizers.items()}})
        after_epoch(Epoch(number, float(np.mean(losses)), learned), averaged.module)
    return averaged.module.eval()
