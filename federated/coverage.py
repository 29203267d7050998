"""Whom an epsilon covers, in words that may stand beside the number."""

from collections.abc import Sequence

from contracts.bundle import PrivacyStatement
from federated.ledger import LedgerEntry, ledger_epsilon

CENTRAL_WITHOUT_PRIVACY = "trained centrally without differential privacy: the people in its data have no guarantee"
STATISTICS_OUTSIDE = (
    "outside the guarantee: quality figures, popularity and segment centres are exact statistics of the people in them"
)


def privacy_statement(
    entries: Sequence[LedgerEntry],
    delta: float,
    base_model: str = CENTRAL_WITHOUT_PRIVACY,
    statistics: str = STATISTICS_OUTSIDE,
) -> PrivacyStatement:
    """The statement of a manifest.

    Args:
        entries: of the ledger; without any, no epsilon is claimed.
        delta: at which epsilon is stated.
        base_model: what holds for the people whose data trained the base model.
        statistics: what holds for published statistics of people.
    """
    if not entries:
        return PrivacyStatement(base_model=base_model, statistics=statistics)
    return PrivacyStatement(
        base_model=base_model,
        statistics=statistics,
        epsilon=ledger_epsilon(entries, delta),
        delta=delta,
        rounds=len(entries),
    )


def coverage(entries: Sequence[LedgerEntry], delta: float) -> str:
    """The people an epsilon covers, the terms it holds on, and who is outside, in full sentences."""
    if not entries:
        return "No federated round has been released: nobody's data was used, and no epsilon is claimed."
    people = [entry.people_enrolled for entry in entries]
    enrolled = str(people[0]) if min(people) == max(people) else f"{min(people)} to {max(people)}"
    releases = sum(entry.charge.releases for entry in entries)
    plural = "" if releases == 1 else "s"
    sampled = any(entry.charge.sampling_rate < 1.0 for entry in entries)
    sentences = [
        f"Epsilon {ledger_epsilon(entries, delta):.2f} at delta {delta:g}, over {releases} release{plural}, covers "
        f"each of the {enrolled} people enrolled when a round opened, with everything that the phones resolved to them "
        "at enrolment sent in rounds.",
        "It bounds what the released adapters tell about whether one person was enrolled (add/remove adjacency, "
        "privacy loss distributions), with the server and its gateways trusted and the number enrolled public.",
    ]
    if sampled:
        sentences.append(
            "It counts on sampling: people are drawn by secret coins, and whether somebody's phone is reachable is "
            "assumed not to depend on earlier rounds."
        )
    sentences.append(
        "It does not cover people whose data trained the base model, what profiles and synchronisation keep on the "
        "server, nor exact counts and quality figures in the operator's reports. Releases that a gate refused to "
        "publish are charged all the same."
    )
    return " ".join(sentences)
