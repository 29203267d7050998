"""User-level DP-SGD with Opacus: one example is one person (Abadi et al. 2016, arXiv:1607.00133).

People are drawn by secret coins of their own (Poisson sampling), each person's gradient is clipped to one norm over all
parameters, the sum gets Gaussian noise once and is divided by the expected, not the actual, number of people. Norms
come from ghost clipping (Li et al. 2022, arXiv:2110.05679): no person's gradient of an item table is ever held, so that
memory does not grow with people times items.

The released model is the average of the last iterates, which costs nothing and takes noise away (Polyak and Juditsky
1992).
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPTensorFastGradientClipping
from torch import nn

from contracts.noise import CoinSource, NoiseSource
from training.private.examples import PersonExamples
from training.private.teacher import PrivateTeacher, person_tensors

LOGITS_AT_ONCE = 16_000_000  # how many people go through the model together follows from it
AVERAGED = 0.5  # share of the steps, the last, whose iterates are averaged
FINAL_RATE = 0.1  # of the learning rate, where the cosine ends


@dataclass(frozen=True)
class DpSgdRecipe:
    sampling_rate: float = 0.1  # q, each person's chance in a step
    steps: int = 30
    clipping_norm: float = 1.0  # C, over all parameters
    rate: float = 1.5  # plain steps: scaled ones would lift noise where a parameter has no more than that
    examples: int = 2  # of each person in a step


class _NoisyOptimizer(DPOptimizerFastGradientClipping):
    """Opacus's optimizer with the project's noise: its secure mode needs a package that is no longer made."""

    def __init__(self, optimizer: torch.optim.Optimizer, noise: NoiseSource, **settings: object) -> None:
        super().__init__(optimizer, **settings)
        self._source = noise

    def add_noise(self) -> None:
        deviation = self.noise_multiplier * self.max_grad_norm
        for parameter in self.params:
            parameter.grad = parameter.summed_grad
            if deviation:
                drawn = torch.from_numpy(deviation * self._source(parameter.numel()))
                parameter.grad = (parameter.summed_grad.double() + drawn.view_as(parameter)).float()


def person_losses(model: nn.Module, examples: PersonExamples, rows: NDArray[np.int64]) -> torch.Tensor:
    """float32 [people]: cross-entropy of each person's examples, averaged over them; 0 without any.

    Args:
        model: a `PrivateTeacher`, wrapped or not.
        examples: of all people.
        rows: int64 [people, each], -1 for none.
    """
    at = np.maximum(rows, 0)
    targets = torch.from_numpy(examples.targets[at]).long()
    logits = model(*person_tensors(examples.histories[at.ravel()], rows.shape[1]))
    wanted = (targets > 0) & torch.from_numpy(rows >= 0)[..., None]
    surprise = logits.logsumexp(2, keepdim=True) - logits.gather(2, targets)
    return ((surprise * wanted).sum(2) / wanted.sum(2).clamp(min=1)).mean(1)


def clipped_sum(
    model: GradSampleModuleFastGradientClipping,
    optimizer: DPOptimizerFastGradientClipping,
    examples: PersonExamples,
    rows: NDArray[np.int64],
) -> None:
    """Leave the sum of the people's clipped gradients in each parameter's `grad`.

    Args:
        model: the wrapped teacher.
        optimizer: over it.
        examples: of all people.
        rows: int64 [people, each]; nobody leaves zeros.
    """
    if not len(rows):
        for parameter in optimizer.params:
            parameter.grad = torch.zeros_like(parameter)
        return
    model.enable_hooks()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Full backward hook", UserWarning)  # of layers whose inputs are constants
        DPTensorFastGradientClipping(model, optimizer, person_losses(model, examples, rows), "sum").backward()


def wrap(teacher: PrivateTeacher, clipping_norm: float) -> GradSampleModuleFastGradientClipping:
    """The teacher with Opacus's hooks for norms of people's gradients."""
    return GradSampleModuleFastGradientClipping(
        teacher, loss_reduction="sum", strict=False, max_grad_norm=clipping_norm, use_ghost_clipping=True
    )


def noisy_optimizer(
    teacher: PrivateTeacher, recipe: DpSgdRecipe, noise_multiplier: float, noise: NoiseSource, expected: float
) -> DPOptimizerFastGradientClipping:
    """Gradient descent over clipped and noised sums, divided by the expected number of people."""
    trained = [parameter for parameter in teacher.parameters() if parameter.requires_grad]
    return _NoisyOptimizer(
        torch.optim.SGD(trained, lr=recipe.rate),
        noise,
        noise_multiplier=noise_multiplier,
        max_grad_norm=recipe.clipping_norm,
        expected_batch_size=expected,
        loss_reduction="mean",
    )


def fit_privately(
    teacher: PrivateTeacher,
    examples: PersonExamples,
    recipe: DpSgdRecipe,
    noise_multiplier: float,
    noise: NoiseSource,
    coins: CoinSource,
    progress: Callable[[int, int], None],
) -> None:
    """Train in place; `recipe.steps` releases must have been charged before.

    Args:
        teacher: to be trained.
        examples: of all people.
        recipe: how long and how fast.
        noise_multiplier: z; 0 trains without noise.
        noise: source of the noise.
        coins: source of the coins, for who takes part in a step and with which examples.
        progress: called with steps done and all steps.
    """
    teacher.train()
    model = wrap(teacher, recipe.clipping_norm)
    expected = recipe.sampling_rate * examples.people
    optimizer = noisy_optimizer(teacher, recipe, noise_multiplier, noise, expected)
    at_once = max(1, LOGITS_AT_ONCE // (recipe.examples * teacher.items))
    average = [torch.zeros_like(parameter) for parameter in teacher.parameters()]
    first_averaged = recipe.steps - max(1, int(AVERAGED * recipe.steps))
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * _share_of_rate(step / recipe.steps)
        people = np.flatnonzero(coins(examples.people) < recipe.sampling_rate)
        rows = examples.draw(people, recipe.examples, coins)
        for chunk, last in _chunks(rows, at_once):
            clipped_sum(model, optimizer, examples, chunk)
            optimizer.signal_skip_step(not last)
            optimizer.step()
            optimizer.zero_grad()
        for total, parameter in zip(average, teacher.parameters(), strict=True):
            if step >= first_averaged:
                total += parameter.detach() / (recipe.steps - first_averaged)
        progress(step + 1, recipe.steps)
    model.remove_hooks()
    with torch.no_grad():
        for parameter, total in zip(teacher.parameters(), average, strict=True):
            parameter.copy_(total)
    teacher.eval()


def _share_of_rate(done: float) -> float:
    """Half a cosine from 1 to `FINAL_RATE`."""
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + float(np.cos(np.pi * done)))


def _chunks(rows: NDArray[np.int64], size: int) -> Iterator[tuple[NDArray[np.int64], bool]]:
    """Parts of at most `size` people and whether each is the last; nobody is one part."""
    starts = range(0, max(len(rows), 1), size)
    for first in starts:
        yield rows[first : first + size], first == starts[-1]
