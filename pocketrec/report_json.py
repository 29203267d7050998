"""`report.json`: what a run measured, under keys that do not change."""

import msgspec

from pocketrec.exporting import Export
from pocketrec.federation import Federation
from pocketrec.quality import segmentation_of
from pocketrec.results import Results
from pocketrec.simulation import Simulation


def build_report(results: Results) -> dict[str, object]:
    """All of it, as JSON values."""
    counts = results.prepared.record.counts
    return {
        "data": {
            "users": counts.users,
            "items": counts.items,
            "events": counts.events,
            "dropped": dict(counts.dropped),
            "origin": results.prepared.record.origin,
        },
        "protocol": results.prepared.record.protocol,
        "quality": results.quality,
        "comparison": results.comparison,
        "segmentation": segmentation_of(results.prepared.segments) if results.prepared.segments else {},
        "segments": results.segments,
        "artifacts": artifacts_of(results.export),
        "parity": parity_of(results.export),
        "compression": {
            "search": msgspec.to_builtins(results.search),
            "blame": msgspec.to_builtins(results.blamed),
        },
        "fleet": fleet_of(results.simulation),
        "federated": federated_of(results.federation),
        "bundles": [msgspec.to_builtins(one) for one in (results.published, results.rollout.published)],
        "seconds": results.seconds,
        "peak_memory_bytes": results.peak_memory_bytes,
    }


def fleet_of(simulation: Simulation) -> dict[str, int]:
    """The report's `fleet`; lost and double-counted by the independent count."""
    report, count = simulation.report, simulation.count
    return {
        "phones": report.phones,
        "events_created": count.created,
        "events_on_server": count.held,
        "resent": report.resent,
        "lost": count.lost,
        "double_counted": count.double_counted,
        "profiles": simulation.profiles,
        "merged_profiles": simulation.merged_profiles,
    }


def artifacts_of(export: Export) -> dict[str, object]:
    """The report's `artifacts`."""
    return msgspec.to_builtins(export.artifacts)


def parity_of(export: Export) -> dict[str, object]:
    """The report's `parity`, with what the shipped artifacts lose in quality."""
    found = msgspec.to_builtins(export.parity)
    for name, loss in export.ndcg_loss.items():
        found["shipped"][name]["ndcg_loss"] = msgspec.to_builtins(loss)
    return found


def federated_of(federation: Federation) -> dict[str, object]:
    """The report's `federated`."""
    report = federation.report
    return {
        "people_enrolled": report.people_enrolled,
        "people_sampled": report.people_sampled,
        "updates": report.updates,
        "clipping_norm": report.clipping_norm,
        "noise_multiplier": report.noise_multiplier,
        "epsilon": report.epsilon,
        "epsilon_prv": federation.epsilon_prv,
        "delta": report.delta,
        "published": federation.gate.published,
    }
