"""Of two concurrent decisions the opt-out wins, in whatever order they arrive."""

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from contracts.consent import Consent, ConsentFact, Purpose, decide

facts = st.builds(
    ConsentFact,
    fact_id=st.just("f"),
    owner=st.just("login:a"),
    purpose=st.just(Purpose.ANALYTICS),
    granted=st.booleans(),
    cites=st.integers(0, 4),
)
standing = st.builds(Consent, version=st.integers(0, 4), granted=st.booleans())


def fact(granted, cites):
    return ConsentFact(
        fact_id=f"{granted}/{cites}", owner="login:a", purpose=Purpose.ANALYTICS, granted=granted, cites=cites
    )


def test_no_fact_means_no():
    assert Consent().granted is False


@given(standing, facts)
def test_an_opt_out_always_counts_and_an_opt_in_only_with_the_standing_version(before, new):
    after = decide(before, new)
    if not new.granted:
        assert after == Consent(version=before.version + 1, granted=False)
    elif new.cites == before.version:
        assert after == Consent(version=before.version + 1, granted=True)
    else:
        assert after == before


@given(standing)
def test_of_two_concurrent_decisions_the_opt_out_wins_in_either_order(before):
    for order in permutations([fact(True, before.version), fact(False, before.version)]):
        after = before
        for new in order:
            after = decide(after, new)
        assert after.granted is False


@given(standing, st.lists(facts))
def test_versions_never_fall_and_change_with_the_decision(before, many):
    for new in many:
        after = decide(before, new)
        assert after.version in (before.version, before.version + 1)
        assert after == before or after.version > before.version
        before = after
