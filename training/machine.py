"""Where the teacher trains: on which device, and as which of several processes.

Several processes are begun by `torchrun`. The first one leads: it alone opens the run directory, and hands the others
what is to be trained; they hold nothing else and end with it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, runtime_checkable

import torch
import torch.distributed as dist

from contracts.errors import ConfigError

AUTO, CPU, CUDA = "auto", "cpu", "cuda"
LONGEST_WAIT = timedelta(hours=12)  # of the others, while the first one prepares the log; torchrun ends orphans
BACKENDS = {True: "cpu:gloo,cuda:nccl", False: "gloo"}  # with a GPU, without


@dataclass(frozen=True)
class Machine:
    """One process's share of the work."""

    device: torch.device
    rank: int = 0
    processes: int = 1
    mixed_precision: bool = False  # bfloat16 in matrix products, float32 in weights, sums and losses

    @property
    def leads(self) -> bool:
        return self.rank == 0


def find_machine(device: str = AUTO) -> Machine:
    """The device that is asked for, and this process's place among those that `process_group` joined.

    Args:
        device: "auto" takes a GPU where there is one.

    Raises:
        ConfigError: if a GPU is asked for and there is none.
    """
    available = torch.cuda.is_available()
    if device == CUDA and not available:
        raise ConfigError(
            f'[teacher] device = "{CUDA}", but PyTorch {torch.__version__} finds no GPU here: use "{AUTO}" or "{CPU}"'
        )
    joined = dist.is_available() and dist.is_initialized()
    rank, processes = (dist.get_rank(), dist.get_world_size()) if joined else (0, 1)
    torch.use_deterministic_algorithms(True, warn_only=available)  # some sums on a GPU have no fixed order
    if device == CPU or not available:
        return Machine(torch.device(CPU), rank, processes)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS has no fixed order at all
    return Machine(torch.device(CUDA, int(os.environ.get("LOCAL_RANK", "0"))), rank, processes, mixed_precision=True)


@contextmanager
def process_group() -> Iterator[bool]:
    """Join the processes that `torchrun` began, where it did; yields whether this one leads."""
    if not dist.is_available() or not dist.is_torchelastic_launched():
        yield True
        return
    # Optimizers import it, and its functions' defaults are the group of that moment. They would hold ours to the end of
    # the interpreter, where its threads abort the process (pytorch/pytorch#179291).
    import torch.distributed.nn.functional

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group(BACKENDS[torch.cuda.is_available()], timeout=LONGEST_WAIT)
    leads = dist.get_rank() == 0
    yield leads  # after an error nothing is shared: the others may be in the midst of a step, and torchrun ends them
    if leads:
        share(None)
    dist.destroy_process_group()


def share(value: object) -> object:
    """The first process's value, in every process; the others' arguments are not read."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=torch.device(CPU))
    return box[0]


@runtime_checkable
class Job(Protocol):
    """What the first process shares for the others to take part in."""

    def follow(self) -> object: ...


def follow() -> None:
    """What every process but the first does: train along, until there is nothing more to train."""
    while (job := share(None)) is not None:
        assert isinstance(job, Job)
        job.follow()


def gather(value: object) -> list[object]:
    """Every process's value, in the order of their ranks."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return [value]
    values: list[object] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
