"""Which candidate is chosen, why each other lost, and what would meet limits that none meets."""

from collections.abc import Callable, Sequence

import msgspec

from compression.search.front import dominates
from compression.search.limits import LATENCY_MARGIN, Limits
from compression.search.measured import Measured
from training.pareto import pareto_front


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The search's answer."""

    chosen: str | None  # a recipe's name
    front: tuple[str, ...]  # smallest first
    reasons: dict[str, str]  # of every candidate: why it lost, or that it was chosen
    tightest: str | None = None  # of limits that no candidate meets, and what would meet it


class _Limit(msgspec.Struct, frozen=True):
    option: str
    allowed: float
    figure: Callable[[Measured], float]
    words: Callable[[float], str]
    told: str = "{}"  # the figure as a reason says it
    margin: float = 1.0  # by which the figure may be above

    def exceeded(self, one: Measured) -> bool:
        return self.figure(one) > self.allowed * self.margin

    def reason(self, one: Measured) -> str:
        return f"{self.told.format(self.words(self.figure(one)))} is above {self.option} {self.words(self.allowed)}"


def choose(found: Sequence[Measured], limits: Limits) -> Choice:
    """The smallest candidate within the limits; of equal ones the smaller download, then the better, then by name.

    A measured latency is never compared between candidates: it only keeps out what is above its limit by more than
    `LATENCY_MARGIN`. New items keep a candidate out where they lose more than allowed beyond doubt.
    """
    held = _limits(limits)
    exceeded = {each.recipe: [limit for limit in held if limit.exceeded(each)] for each in found}
    fitting = sorted((each for each in found if not exceeded[each.recipe]), key=_order)
    chosen = fitting[0] if fitting else None
    reasons = {each.recipe: _reason(each, exceeded[each.recipe], chosen, found) for each in found}
    return Choice(
        chosen=chosen.recipe if chosen else None,
        front=tuple(each.recipe for each in sorted(pareto_front(found, dominates), key=_order)),
        reasons=reasons,
        tightest=None if chosen else _tightest(found, held),
    )


def _order(one: Measured) -> tuple[int, int, float, str]:
    return one.bytes, one.download_bytes, one.loss.value, one.recipe


def _limits(limits: Limits) -> list[_Limit]:
    held = []
    if limits.max_bytes is not None:
        held.append(_Limit("--max-bytes", limits.max_bytes, lambda one: one.bytes, lambda size: f"{size / 1e3:.1f}KB"))
    if limits.max_latency_ms is not None:
        held.append(
            _Limit(
                "--max-latency",
                limits.max_latency_ms,
                lambda one: one.latency_ms,
                lambda time: f"{time:.2f}ms",
                margin=LATENCY_MARGIN,
            )
        )
    if limits.max_loss is not None:
        of, whose = limits.loss_of, {"float": "float model's", "teacher": "teacher's"}[limits.loss_of]
        for figure, told in (
            (lambda one: one.losses(of)[0].high, f"a loss of up to {{}} of the {whose} quality"),
            (lambda one: one.losses(of)[1].low, f"a loss of at least {{}} of the {whose} quality on new items"),
        ):
            held.append(_Limit("--max-loss", limits.max_loss, figure, lambda share: f"{100 * share:.2f}%", told))
    return held


def _reason(one: Measured, exceeded: Sequence[_Limit], chosen: Measured | None, found: Sequence[Measured]) -> str:
    if one is chosen:
        return "chosen: the smallest within the limits"
    if exceeded:
        return "; ".join(limit.reason(one) for limit in exceeded)
    assert chosen is not None  # what exceeds nothing fits, and then one was chosen
    better = next((each.recipe for each in found if dominates(each, one)), None)
    size = "bytes" if one.bytes != chosen.bytes else "download_bytes"
    larger = f"{getattr(one, size) / getattr(chosen, size) - 1:.1%} larger than the chosen one"
    larger += ", as a download" if size == "download_bytes" else ""
    return f"{larger}, and {better} is better in every respect" if better else larger


def _tightest(found: Sequence[Measured], held: Sequence[_Limit]) -> str:
    """The limit of which the least has to be given up, where the others stay, and what would meet it."""
    ways = []
    for limit in held:
        others = [each for each in held if each is not limit]
        left = [one for one in found if not any(other.exceeded(one) for other in others)]
        if left:
            nearest = min(left, key=lambda one: (limit.figure(one), one.recipe))
            ways.append((limit.figure(nearest) / limit.allowed, limit, nearest))
    if not ways:
        nearest = min(found, key=lambda one: max(limit.figure(one) / limit.allowed for limit in held))
        exceeded = [limit for limit in held if limit.exceeded(nearest)]
        needs = ", ".join(f"{limit.option} {limit.words(limit.figure(nearest))}" for limit in exceeded)
        return f"no limit alone: {nearest.recipe} would meet {needs}"
    _, limit, nearest = min(ways, key=lambda way: way[0])
    return (
        f"{limit.option} {limit.words(limit.allowed)}: {nearest.recipe} would meet "
        f"{limit.option} {limit.words(limit.figure(nearest))} and every other limit"
    )
