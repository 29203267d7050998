"""`report.json`: what a run measured, under keys that do not change."""

import msgspec

from pocketrec.exporting import Export


def artifacts_of(export: Export) -> dict[str, object]:
    """The report's `artifacts`."""
    return msgspec.to_builtins(export.artifacts)


def parity_of(export: Export) -> dict[str, object]:
    """The report's `parity`, with what the shipped artifacts lose in quality."""
    found = msgspec.to_builtins(export.parity)
    for name, loss in export.ndcg_loss.items():
        found["shipped"][name]["ndcg_loss"] = msgspec.to_builtins(loss)
    return found
