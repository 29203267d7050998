"""What fixes the device model's shapes."""

from dataclasses import dataclass

from contracts.bundle import ContextField
from contracts.errors import ConfigError


@dataclass(frozen=True)
class DeviceModelSpec:
    """Everything that fixes the device model's shapes."""

    items: int  # of the catalogue, without padding
    context: tuple[ContextField, ...]
    history_length: int = 256  # L
    candidates: int = 100  # K
    width: int = 64
    heads: int = 4
    blocks: int = 0  # of self-attention over the history, where order counts; 0 pools it
    feed: int = 4  # the blocks' feed-forward layers are this times as wide
    train_targets: int = 32  # T, of the trainable artifact
    train_negatives: int = 256  # N

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigError(
                f"width {self.width} is no multiple of {self.heads} heads: take a multiple of {self.heads}"
            )
        if self.candidates > self.items:
            raise ConfigError(
                f"{self.candidates} candidates are asked of a catalogue of {self.items} items: "
                f"set candidates to at most {self.items}"
            )
