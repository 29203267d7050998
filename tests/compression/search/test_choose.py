"""The choice: limits hold, what lost says why, and latency never orders two candidates that both fit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compression.search.choose import choose
from compression.search.front import dominates
from compression.search.limits import LATENCY_MARGIN, Limits, parse_limits
from compression.search.measured import Measured
from contracts.bundle import Estimate
from contracts.errors import ConfigError


def one(name: str, size: int, latency: float, loss: float, new: float = 0.0, teacher: float = 0.0) -> Measured:
    return Measured(
        recipe=name,
        bytes=size,
        download_bytes=size // 2,
        latency_ms=latency,
        ndcg_at_10=Estimate(0.2, 0.19, 0.21),
        loss=Estimate(loss, loss - 0.01, loss + 0.01),
        new_items_loss=Estimate(new, new - 0.01, new + 0.01),
        teacher_loss=Estimate(teacher, teacher - 0.01, teacher + 0.01),
        teacher_new_items_loss=Estimate(new, new - 0.01, new + 0.01),
    )


candidates = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(-3, 9)), min_size=1, max_size=8).map(
    lambda rows: [one(f"r{n}", 1000 * a, b / 4, c / 100) for n, (a, b, c) in enumerate(rows)]
)
limits = st.builds(
    Limits,
    max_bytes=st.one_of(st.none(), st.integers(1, 10).map(lambda n: 1000.0 * n)),
    max_latency_ms=st.one_of(st.none(), st.integers(1, 10).map(lambda n: n / 4)),
    max_loss=st.one_of(st.none(), st.integers(1, 10).map(lambda n: n / 100)),
)


def fits(each: Measured, held: Limits) -> bool:
    return (
        (held.max_bytes is None or each.bytes <= held.max_bytes)
        and (held.max_latency_ms is None or each.latency_ms / LATENCY_MARGIN <= held.max_latency_ms)
        and (held.max_loss is None or max(each.loss.high, each.new_items_loss.low) <= held.max_loss)
    )


@given(found=candidates, held=limits)
def test_the_chosen_fits_and_is_the_smallest_that_does(found: list[Measured], held: Limits) -> None:
    answer = choose(found, held)
    fitting = [each for each in found if fits(each, held)]
    assert set(answer.reasons) == {each.recipe for each in found}
    if not fitting:
        assert answer.chosen is None
        assert answer.tightest
        return
    chosen = next(each for each in found if each.recipe == answer.chosen)
    assert chosen in fitting
    assert chosen.bytes == min(each.bytes for each in fitting)
    assert answer.tightest is None


@given(found=candidates, held=limits, noise=st.lists(st.floats(0.95, 1.05), min_size=8, max_size=8))
def test_a_machine_s_noise_within_the_limit_changes_no_choice(found, held, noise) -> None:
    noisy = [
        one(each.recipe, each.bytes, each.latency_ms * factor, each.loss.value)
        for each, factor in zip(found, noise, strict=False)
    ]
    if [fits(each, held) for each in found] == [fits(each, held) for each in noisy]:
        assert choose(noisy, held).chosen == choose(found, held).chosen


@given(found=candidates)
def test_nothing_on_the_front_is_dominated_and_all_else_is(found: list[Measured]) -> None:
    front = choose(found, Limits()).front
    for each in found:
        assert (each.recipe in front) == (not any(dominates(other, each) for other in found))
    assert front


def test_the_tightest_limit_names_what_would_meet_it() -> None:
    found = [one("small", 200_000, 0.5, 0.30), one("good", 320_000, 0.5, 0.005), one("large", 900_000, 0.5, 0.0)]
    answer = choose(found, Limits(max_bytes=300_000, max_latency_ms=1.0, max_loss=0.02))
    assert answer.tightest == "--max-bytes 300.0KB: good would meet --max-bytes 320.0KB and every other limit"
    assert answer.reasons["small"] == "a loss of up to 31.00% of the float model's quality is above --max-loss 2.00%"
    alone = choose(found[2:], Limits(max_bytes=1.0, max_latency_ms=0.1, max_loss=0.02))
    assert alone.tightest == "no limit alone: large would meet --max-bytes 900.0KB, --max-latency 0.50ms"


def test_new_items_keep_a_candidate_out_only_beyond_doubt() -> None:
    doubtful, lost = one("doubtful", 1, 0.1, 0.0, new=0.025), one("lost", 1, 0.1, 0.0, new=0.2)
    assert choose([doubtful], Limits(max_loss=0.02)).chosen == "doubtful"
    assert choose([lost], Limits(max_loss=0.02)).chosen is None


def test_a_loss_is_of_the_model_that_was_named() -> None:
    found = [one("near floats", 1, 0.1, 0.0, teacher=0.3), one("near teacher", 2, 0.1, 0.3, teacher=0.0)]
    assert choose(found, Limits(max_loss=0.02)).chosen == "near floats"
    answer = choose(found, Limits(max_loss=0.02, loss_of="teacher"))
    assert answer.chosen == "near teacher"
    assert answer.reasons["near floats"].startswith("a loss of up to 31.00% of the teacher's quality")


def test_what_a_loss_may_be_of_is_named_where_it_is_of_something_else() -> None:
    assert parse_limits(None, None, "2%", "teacher") == Limits(max_loss=0.02, loss_of="teacher")
    with pytest.raises(ConfigError, match="take float or teacher"):
        parse_limits(None, None, "2%", "tutor")
    with pytest.raises(ConfigError, match="give --max-loss too"):
        parse_limits("1MB", None, None, "teacher")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("300KB", "1ms", "2%"), Limits(300_000, 1.0, 0.02)),
        (("1.5 MiB", "300us", "0.5%"), Limits(1.5 * 2**20, 0.3, 0.005)),
        (("12B", ".5s", None), Limits(12, 500.0, None)),
    ],
)
def test_limits_are_read_as_people_write_them(texts, expected: Limits) -> None:
    found = parse_limits(*texts)
    assert found.max_bytes == pytest.approx(expected.max_bytes)
    assert found.max_latency_ms == pytest.approx(expected.max_latency_ms)
    assert found.max_loss == (None if expected.max_loss is None else pytest.approx(expected.max_loss))


@pytest.mark.parametrize(
    "texts",
    [
        ("300", None, None),
        (None, "1 hour", None),
        (None, None, "2"),
        ("-3KB", None, None),
        (None, "fast", None),
        (None, None, "0%"),
        ("3kb", None, None),
    ],
)
def test_what_is_no_limit_is_refused_in_one_line(texts) -> None:
    with pytest.raises(ConfigError, match="write it as") as caught:
        parse_limits(*texts)
    assert "\n" not in str(caught.value)
