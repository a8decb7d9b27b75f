"""A series on the loopback GEO, and how a curator fills in its folder."""

from __future__ import annotations

from pathlib import Path

from loopback_geo import Sample, Series
from mini_release import GENES, counts, dense_csv

NAMES = [name for _, name, _ in GENES]
FACTS = (
    ("day0", "cell_line", "untreated", {}),
    (
        "day11",
        "cell_line",
        "treated",
        {
            "treatment": "erlotinib",
            "exposure_days": "11",
            "outcome": "survived",
            "control_samples": "PC9_day0",
            "control_outcome": "died",
        },
    ),
)


def matrix(seed: int, cells: int = 12) -> bytes:
    """Counts of one sample, as a packed CSV."""
    return dense_csv(counts(seed, cells), NAMES, [f"c{seed}_{i}" for i in range(cells)])


def series(**changes: object) -> Series:
    """Give two samples of one line, before and after eleven days of a drug, in `_RAW.tar`."""
    samples = [
        Sample(
            f"GSM900000{i}",
            f"PC9 {arm}",
            ("cell line: PC9", f"treatment: {arm}"),
            {f"GSM900000{i}_{arm}.csv.gz": matrix(i)},
        )
        for i, (arm, _, _, _) in enumerate(FACTS, start=1)
    ]
    return Series("GSE900001", **{"samples": samples, **changes})  # type: ignore[arg-type]


def fill_in(folder: Path) -> None:
    """Do what the curator does: every TODO of the scaffold, and the facts of the arms."""
    manifest = folder / "study.yaml"
    text = manifest.read_text()
    text = text.replace("licence: TODO", "licence: none stated; public GEO record")
    text = text.replace("curator: TODO", "curator: tests")
    text = text.replace("orientation: TODO", "orientation: features_by_cells")
    text = text.replace("where: TODO", "where: abstract")
    manifest.write_text(text)
    table = folder / "samples.csv"
    header, *rows = table.read_text().splitlines()
    columns = header.split(",")
    filled = [header]
    for row in rows:
        values = dict(zip(columns, row.split(","), strict=True))
        for arm, source_type, word, facts in FACTS:
            if values["sample_id"].endswith(arm):
                known = {"source_type": source_type, "arm": word, "fact_sources": "*=paper"}
                values |= known | facts
        filled.append(",".join(values[column] for column in columns))
    table.write_text("\n".join(filled) + "\n")
