"""Training of the teacher: baskets by sampled softmax, new items towards their neighbours' votes."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 the name everyone knows

from training.examples import Examples
from training.new_item_labels import NewItemLabels
from training.sampled_softmax import basket_loss, draw_candidates, new_item_loss
from training.teacher import Teacher, TeacherShape, tensors

UNIFORM_DRAWS = 2048
WARM_UP_STEPS = 30
GRADIENT_NORM = 1.0
HIDDEN_TOKENS = 0.1  # chance of a token to be hidden from the query
FINAL_RATE = 0.02  # of the learning rate, where the cosine ends


@dataclass(frozen=True)
class TeacherRecipe:
    shape: TeacherShape = field(default_factory=TeacherShape)
    steps: int = 300
    batch: int = 256
    rate: float = 5e-3
    copy_rate: float = 1e-3  # of the copy head, which starts from frequency and needs only be refined
    new_item_weight: float = 2.0


def cosine(step: int, steps: int) -> float:
    """Share of the learning rate at a step: linear warm-up, then half a cosine."""
    rising = min(1.0, (step + 1) / WARM_UP_STEPS)
    return rising * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + np.cos(np.pi * step / max(steps, 1))))


def fit_teacher(
    teacher: Teacher,
    recipe: TeacherRecipe,
    examples: Examples,
    labels: NewItemLabels,
    seed: int,
    progress: Callable[[int, int], None],
) -> list[tuple[float, float]]:
    """Train in place.

    Args:
        teacher: to be trained.
        recipe: how long and how fast.
        examples: n examples, drawn so that every person counts the same.
        labels: of the same n examples.
        seed: of the batches, candidates and dropout.
        progress: called with steps done and all steps.

    Returns:
        The basket and new-item losses of every step.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    share = np.exp(teacher.popularity.detach().numpy().astype(np.float64))
    share[0] = 0.0
    share /= share.sum()
    copy = [*teacher.copy.parameters(), *teacher.copy_linear.parameters(), teacher.repeat]
    others = [p for p in teacher.parameters() if p.requires_grad and all(p is not q for q in copy)]
    rates = (recipe.rate, recipe.copy_rate)
    optimizer = torch.optim.AdamW([{"params": others}, {"params": copy, "weight_decay": 0.0}], lr=recipe.rate)
    losses = []
    teacher.train()
    for step in range(recipe.steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * cosine(step, recipe.steps)
        rows = np.sort(rng.integers(0, len(examples), recipe.batch))
        batch = examples.batch(rows)
        labelled = np.concatenate([batch.target, labels.items[rows].ravel()]).astype(np.int64)
        candidates = draw_candidates(labelled, share, UNIFORM_DRAWS, rng)
        items = torch.from_numpy(candidates.items)
        catalogue = teacher.catalogue()
        query, base, gain = teacher(catalogue, *tensors(batch.histories), drop=HIDDEN_TOKENS)
        scores = query @ F.embedding(items, catalogue).T + teacher.popularity[items]
        baskets = basket_loss(batch, candidates, scores, base, gain)
        new = new_item_loss(batch, candidates, scores, labels.items[rows], labels.share[rows])
        optimizer.zero_grad()
        (baskets + recipe.new_item_weight * new).backward()
        torch.nn.utils.clip_grad_norm_(teacher.parameters(), GRADIENT_NORM)
        optimizer.step()
        losses.append((baskets.item(), new.item()))
        progress(step + 1, recipe.steps)
    teacher.eval()
    return losses
