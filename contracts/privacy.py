"""What a round's release costs in privacy, as the ledger charges it and every accountant reads it."""

from typing import Annotated

import msgspec
from msgspec import Meta

MIN_NOISE_MULTIPLIER = (
    0.1  # below it a single release already costs an epsilon of about 90: no guarantee worth its name
)


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """Releases of a Poisson-subsampled Gaussian mechanism, under add/remove adjacency of one person."""

    sampling_rate: Annotated[float, Meta(gt=0.0, le=1.0)]  # q; 1: everybody, no amplification
    noise_multiplier: Annotated[float, Meta(ge=MIN_NOISE_MULTIPLIER)]  # z: the noise's deviation over the clipping norm
    releases: Annotated[int, Meta(ge=1)] = 1
