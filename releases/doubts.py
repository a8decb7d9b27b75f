"""What in a release is right by every rule and still deserves a reader's eye."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["doubts"]

NOT_FOUND = ("retired_id", "several_ids_for_name", "unknown_name")
NO_SAMPLE = "no sample has the key"
"""How `builders.match` words why such barcodes are left out."""
SHOWN = 5
FEWEST_FOUND = 0.5
"""Share of a file's features that are genes of the reference: of six real files, 0.69 at least."""


def doubts(root: Mapping[str, Any]) -> Iterator[str]:
    """Say it, a line each.

    Parameters
    ----------
    root
        What `release.json` says, or the summary of a release.
    """
    for study_id, study in root["studies"].items():
        for file in study["files"]:
            reasons = file["features_by_reason"]
            genes = file["features"] - reasons.get("spike_in", 0)
            found = genes - sum(reasons.get(reason, 0) for reason in NOT_FOUND)
            if found < FEWEST_FOUND * genes:
                yield (
                    f"{study_id}/{file['name']}: {found:,} of {genes:,} features are genes of the "
                    "reference; the others count in quality control only"
                )
        for file in study["files"]:
            lost = {why: n for why, n in file["left_out"].items() if why.startswith(NO_SAMPLE)}
            if lost:
                keys = ", ".join(why.removeprefix(NO_SAMPLE).strip() for why in list(lost)[:SHOWN])
                more = ", ..." if len(lost) > SHOWN else ""
                yield (
                    f"{study_id}/{file['name']}: {sum(lost.values()):,} barcodes are left out, "
                    f"because no sample has their key ({keys}{more})"
                )
        without = [
            file["name"] for file in study["files"] if file["has_mitochondrial_genes"] is False
        ]
        if without:
            more = f" and {len(without) - 1} more files" if len(without) > 1 else ""
            yield (
                f"{study_id}/{without[0]}{more}: no feature is a mitochondrial gene; pct_mito is "
                "null, and no threshold is applied to it"
            )
        emptied = study.get("samples_without_kept_cells", [])
        if emptied:
            yield f"{study_id}: quality control leaves no cell of {', '.join(emptied)}"
    for found in root["equal_count_vectors"]:
        yield f"{found['cells']:,} cells have equal counts in {' and '.join(found['studies'])}"
