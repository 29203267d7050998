"""Whom an epsilon covers stands beside it, and nothing is claimed where nothing was charged."""

import pytest

from contracts import codec
from contracts.bundle import PrivacyStatement
from contracts.privacy import Charge
from federated.coverage import coverage, privacy_statement
from federated.ledger import Budget, Ledger, ledger_epsilon


@pytest.fixture
def entries(tmp_path):
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        for number, people in enumerate((20, 25)):
            ledger.charge(
                f"round-{number}",
                Charge(sampling_rate=0.5, noise_multiplier=2.0),
                clipping_norm=1.0,
                people_enrolled=people,
                budget=Budget(epsilon=10.0, delta=1e-5),
            )
        return ledger.entries


def test_the_statement_of_a_manifest(entries):
    statement = privacy_statement(entries, 1e-5)
    assert (statement.epsilon, statement.delta, statement.rounds) == (ledger_epsilon(entries, 1e-5), 1e-5, 2)
    assert "no guarantee" in statement.base_model
    assert "outside the guarantee" in statement.statistics
    assert codec.decode(codec.encode(statement), PrivacyStatement) == statement


def test_without_a_charge_no_epsilon_is_claimed():
    statement = privacy_statement((), 1e-5)
    assert (statement.epsilon, statement.delta, statement.rounds) == (None, None, 0)
    assert "no epsilon is claimed" in coverage((), 1e-5)


def test_the_words_name_the_people_the_terms_and_who_is_outside(entries):
    text = coverage(entries, 1e-5)
    assert f"Epsilon {ledger_epsilon(entries, 1e-5):.2f} at delta 1e-05, over 2 releases" in text
    assert "20 to 25 people" in text
    assert "add/remove" in text
    assert "secret coins" in text
    assert "does not cover people whose data trained the base model" in text


def test_amplification_is_not_mentioned_where_everybody_took_part(tmp_path):
    with Ledger(tmp_path / "everybody.jsonl") as ledger:
        charge = Charge(sampling_rate=1.0, noise_multiplier=2.0)
        budget = Budget(epsilon=10.0, delta=1e-5)
        ledger.charge("round", charge, clipping_norm=1.0, people_enrolled=9, budget=budget)
        text = coverage(ledger.entries, 1e-5)
    assert "secret coins" not in text
    assert "the 9 people" in text
