"""How a budget of epsilon and delta is shared among what is released, as one account."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from contracts.accounting import epsilon as composed_epsilon
from contracts.errors import ConfigError, DataError
from contracts.privacy import MIN_NOISE_MULTIPLIER, Charge

POPULARITY_SHARE, STEPS_SHARE = 5.0, 3.0  # noise of each, in multiples of the pairs' (chosen on ML-1M's validation)
MOST_NOISE = 100.0  # of the pairs: beyond it nothing of anybody is left in them
MIN_PEOPLE = 200  # fewer cannot be told from the noise at any budget worth its name
PRECISION = 0.005  # relative, of the noise multiplier
SPENT = 0.95  # share of the budget, of which the rest buys nothing worth its noise


@dataclass(frozen=True)
class PrivacyPlan:
    """What is released, and the noise on each; None: nothing is noised, and nothing may be claimed."""

    popularity: Charge | None = None
    pairs: Charge | None = None
    steps: Charge | None = None

    @property
    def charges(self) -> dict[str, Charge]:
        named = {"popularity": self.popularity, "pairs": self.pairs, "steps": self.steps}
        return {name: charge for name, charge in named.items() if charge is not None}

    def epsilon(self, delta: float) -> float:
        """Of all of it together, add/remove one person; infinite where nothing is noised."""
        return composed_epsilon(self.charges.values(), delta) if self.charges else math.inf

    @classmethod
    def of_noise(cls, noise_multiplier: float, sampling_rate: float, steps: int) -> "PrivacyPlan":
        """The plan whose pairs have a noise multiplier."""
        return cls(
            popularity=Charge(sampling_rate=1.0, noise_multiplier=POPULARITY_SHARE * noise_multiplier),
            pairs=Charge(sampling_rate=1.0, noise_multiplier=noise_multiplier),
            steps=Charge(sampling_rate=sampling_rate, noise_multiplier=STEPS_SHARE * noise_multiplier, releases=steps),
        )


WITHOUT_PRIVACY = PrivacyPlan()


def noise_of(charge: Charge | None) -> float:
    """The noise multiplier; 0 where nothing is charged."""
    return 0.0 if charge is None else charge.noise_multiplier


def plan_privacy(
    epsilon: float,
    delta: float,
    people: int,
    sampling_rate: float,
    steps: int,
    charged: Sequence[Charge] = (),
) -> PrivacyPlan:
    """The least noise that keeps everything within a budget.

    Args:
        epsilon: of everything together, add/remove one person.
        delta: below one in all people.
        people: whose data are used, taken as public.
        sampling_rate: q of DP-SGD.
        steps: of DP-SGD.
        charged: what the same people's data were charged before; the budget is for all together.

    Raises:
        ConfigError: if no noise meets the budget, or the budget would protect nobody.
        DataError: if there are too few people.
    """
    if people < MIN_PEOPLE:
        raise DataError(
            f"the log has {people} people to train on, private training takes at least {MIN_PEOPLE}: "
            'bring more people, or train with training = "none" under [privacy]'
        )
    if not 0.0 < delta < 1.0 / people:
        raise ConfigError(
            f"delta is {delta:g}, for {people} people it must be above 0 and below one in all of them, "
            f"{1.0 / people:.2g}: set delta under [privacy] to 1e-{math.ceil(math.log10(people)) + 1} or less"
        )
    if not 0.0 < epsilon < math.inf:
        raise ConfigError(f"epsilon is {epsilon:g}, must be a number above 0: 2 to 8 is common")

    def spent(noise_multiplier: float) -> float:
        plan = PrivacyPlan.of_noise(noise_multiplier, sampling_rate, steps)
        return composed_epsilon([*charged, *plan.charges.values()], delta)

    before = composed_epsilon(charged, delta)
    if before > SPENT * epsilon:
        raise ConfigError(
            f"epsilon {epsilon:g} at delta {delta:g} is spent: {before:.3f} was charged for these people before; raise "
            "epsilon under [privacy], or keep the teacher that was paid for"
        )

    if spent(MOST_NOISE) > epsilon:
        raise ConfigError(
            f"epsilon {epsilon:g} at delta {delta:g} cannot be met over {steps} steps with a noise multiplier of "
            f"at most {MOST_NOISE:g}, {before:.3g} of it charged before: ask for a larger epsilon or fewer steps"
        )
    low, high, step = MIN_NOISE_MULTIPLIER, MOST_NOISE, 2.0
    guess = min(max(math.sqrt(2.0 * math.log(1.25 / delta)) / epsilon, low), high)  # of one Gaussian mechanism
    while high > (1.0 + PRECISION) * low:
        if spent(guess) > epsilon:
            low, guess = guess, min(guess * step, math.sqrt(guess * high))
        else:
            high, guess = guess, max(guess / step, math.sqrt(low * guess))
        step = math.sqrt(step)
        guess = guess if low < guess < high else math.sqrt(low * high)
    return PrivacyPlan.of_noise(high, sampling_rate, steps)
