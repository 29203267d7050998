"""What fixes the device model's shapes."""

from dataclasses import dataclass

from contracts.bundle import ContextField
from contracts.errors import ConfigError
from contracts.project import DEVICE_HEADS


@dataclass(frozen=True)
class DeviceModelSpec:
    """Everything that fixes the device model's shapes."""

    items: int  # of the catalogue, without padding
    context: tuple[ContextField, ...]
    history_length: int = 256  # L
    candidates: int = 100  # K
    width: int = 64  # of item vectors and queries
    heads: int = DEVICE_HEADS
    blocks: int = 0  # of self-attention over the history, where order counts; 0 pools it
    hidden: int = 0  # width within the blocks (Lan et al. 2020, arXiv:1909.11942, section 3.1); 0 for that of vectors
    feed: int = 4  # the blocks' feed-forward layers are this times as wide as the blocks
    train_targets: int = 32  # T, of the trainable artifact
    train_negatives: int = 256  # N

    def __post_init__(self) -> None:
        for name, width in (("width", self.width), ("hidden", self.hidden)):
            if width % self.heads:
                raise ConfigError(
                    f"{name} {width} is no multiple of {self.heads} heads: take a multiple of {self.heads}"
                )
        if self.candidates > self.items:
            raise ConfigError(
                f"{self.candidates} candidates are asked of a catalogue of {self.items} items: "
                f"set candidates to at most {self.items}"
            )

    @property
    def encoder_width(self) -> int:
        """Of the blocks' states."""
        return self.hidden or self.width
