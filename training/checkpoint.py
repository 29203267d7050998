"""Training under way, on the disk: killed at any moment it goes on from here, to the same weights bit by bit."""

import hashlib
import io
import os
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from contracts.errors import RunError
from training.machine import CUDA, Machine, gather

UNREADABLE = (OSError, KeyError, TypeError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError)
State = dict[str, object]  # what torch.load reads without running code


def fingerprint(*parts: object) -> str:
    """SHA-256 in hexadecimal of arrays by their bytes and of anything else by its representation."""
    digest = hashlib.sha256()
    for part in parts:
        data = np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else repr(part).encode()
        digest.update(f"{len(data)} ".encode() + data)
    return digest.hexdigest()


def reason(error: Exception) -> str:
    """Why a file of `torch.save` cannot be read, in one line."""
    if isinstance(error, pickle.UnpicklingError):  # whose message teaches how to read it unsafely
        return "its bytes are not what was written"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


@dataclass(frozen=True)
class Checkpoint:
    """A file that holds one state, or is absent."""

    path: Path
    key: str  # of everything the training depends on; a state of another training is not this one's

    def save(self, state: State) -> None:
        """Replace what is held: temporary name, fsync, rename, fsync of the folder."""
        buffer = io.BytesIO()
        torch.save({"key": self.key, **state}, buffer)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.new")
        with temporary.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def load(self) -> State | None:
        """The state held; None where there is none of this training.

        Raises:
            RunError: if the file is damaged.
        """
        try:
            state = torch.load(self.path, weights_only=True)
            return state if state["key"] == self.key else None
        except FileNotFoundError:
            return None
        except UNREADABLE as error:
            raise RunError(
                f"{self.path} is a damaged checkpoint ({reason(error)}): remove it to train from the first step"
            ) from None


def random_states(machine: Machine) -> list[object]:
    """PyTorch's generators of every process, in the order of their ranks."""
    on_gpu = machine.device.type == CUDA
    own = [torch.get_rng_state(), torch.cuda.get_rng_state(machine.device) if on_gpu else torch.empty(0)]
    return gather(own)


def restore_random_states(states: list[list[torch.Tensor]], machine: Machine) -> None:
    cpu, gpu = states[machine.rank]
    torch.set_rng_state(cpu)
    if machine.device.type == CUDA:
        torch.cuda.set_rng_state(gpu, machine.device)
