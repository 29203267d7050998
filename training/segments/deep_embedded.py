"""Deep Embedded Clustering (Xie, Girshick and Farhadi, ICML 2016), as small as people's features are few.

An autoencoder learns a space; clusters found there by k-means are then sharpened together with the encoder: soft
assignments q by a Student's t kernel are drawn towards p, the same squared and shared out anew, by their KL divergence.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.segments.clustering import Clustering
from training.segments.kmeans import kmeans_labels

HIDDEN, LATENT = 32, 4
PRETRAINING_STEPS, SHARPENING_STEPS = 400, 200  # over all people at once
RATE, SHARPENING_RATE = 5e-3, 2e-3
TARGET_EVERY = 20  # steps after which p is reckoned anew
SETTLED = 0.001  # share of people who change their cluster between two targets, at which it ends


def deep_embedded(points: NDArray[np.float64], seed: int) -> Clustering:
    """Train the autoencoder; `finish` sharpens a copy of the encoder for one number of clusters."""
    with _seeded(seed):
        inputs = torch.from_numpy(points.astype(np.float32))
        encoder, decoder = _layers(points.shape[1], LATENT), _layers(LATENT, points.shape[1])
        optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], RATE)
        for _ in range(PRETRAINING_STEPS):
            optimizer.zero_grad()
            nn.functional.mse_loss(decoder(encoder(inputs)), inputs).backward()
            optimizer.step()
        with torch.no_grad():
            space = encoder(inputs).double().numpy()
        saved = {name: value.clone() for name, value in encoder.state_dict().items()}

    def finish(count: int) -> NDArray[np.int64]:
        with _seeded(seed):
            encoder.load_state_dict(saved)
            return _sharpen(encoder, inputs, kmeans_labels(space, seed, count), count)

    return Clustering(space, partial(kmeans_labels, space, seed), finish)


def soft_assignment(latent: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """float [n, clusters]: q, Student's t kernel with one degree of freedom; rows sum to 1 (the paper's equation 1)."""
    kernel = 1.0 / (1.0 + torch.cdist(latent, centres, compute_mode="donot_use_mm_for_euclid_dist") ** 2)
    return kernel / kernel.sum(1, keepdim=True)


def target_distribution(q: torch.Tensor) -> torch.Tensor:
    """float [n, clusters]: p, sharper than q and fair to small clusters; rows sum to 1 (the paper's equation 3)."""
    weight = q**2 / q.sum(0)
    return weight / weight.sum(1, keepdim=True)


def _sharpen(encoder: nn.Module, inputs: torch.Tensor, labels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    with torch.no_grad():
        latent = encoder(inputs)
    start = torch.stack([latent[torch.from_numpy(labels == cluster)].mean(0) for cluster in range(count)])
    centres = nn.Parameter(start)
    optimizer = torch.optim.Adam([*encoder.parameters(), centres], SHARPENING_RATE)
    before, target = torch.from_numpy(labels), torch.empty(0)
    for step in range(SHARPENING_STEPS):
        q = soft_assignment(encoder(inputs), centres)
        if step % TARGET_EVERY == 0:
            now = q.argmax(1)
            if step and (now != before).double().mean() <= SETTLED:
                break
            before, target = now, target_distribution(q.detach())
        optimizer.zero_grad()
        nn.functional.kl_div(q.log(), target, reduction="batchmean").backward()
        optimizer.step()
    with torch.no_grad():
        found = soft_assignment(encoder(inputs), centres).argmax(1).numpy()
    return np.unique(found, return_inverse=True)[1].astype(np.int64)  # a cluster that lost everybody is gone


def _layers(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs)
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Torch draws by the seed and adds up on one thread inside, and goes on as it was after."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)  # so that the order of sums does not follow the machine
        try:
            yield
        finally:
            torch.set_num_threads(threads)
