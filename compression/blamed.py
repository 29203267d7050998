"""What a search for the layers to blame found, as data: read without TensorFlow."""

import msgspec


class Blame(msgspec.Struct, frozen=True):
    """One layer's part in what compression changed."""

    layer: str
    changed: float  # mean share of the float model's top 10s that is missing while all but this layer are compressed
    share: float  # of the whole change that goes away with it; negative where the layer makes up for others


class Blamed(msgspec.Struct, frozen=True):
    """What compression changed, and which layers are to blame."""

    recipe: str
    histories: int
    changed: (
        float  # mean share of the float model's top 10s, of all items and of new ones, that the compressed one's lack
    )
    layers: tuple[Blame, ...]  # the most to blame first
