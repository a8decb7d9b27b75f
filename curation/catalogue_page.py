"""Write the catalogue of studies: a Markdown page and its figures, from the manifests alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from cellresponse.curation.catalogue import totals

__all__ = ["bar_chart", "catalogue_files"]

SUBJECTS = {
    "drugs": "drug",
    "cancer_types": "cancer type",
    "source_types": "source",
    "years": "year of publication",
}
BARS = 25  # a longer tail is named in the caption, and complete in the table


def catalogue_files(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Give the text of every file of the catalogue by its path below `docs/`.

    Parameters
    ----------
    rows
        From `catalogue_rows`.
    """
    used = [row for row in rows if row["status"] != "excluded"]
    figures = _figures(used)
    charts = {f"figures/{name}.svg": bar_chart(*figure) for name, figure in figures.items()}
    titles = {name: title for name, (title, _) in figures.items()}
    return charts | {"catalogue.md": _page(rows, totals(rows), titles)}


def _figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, dict[str, int]]]:
    """Title and counts of each figure by its name."""
    stated = [row for row in rows if row["cells_stated"]]
    of = f"{len(stated)} of {len(rows)} studies"
    found = {}
    for subject, shown in SUBJECTS.items():
        given = "drug that they received" if subject == "drugs" else shown
        found[f"samples_by_{subject}"] = (f"Samples by {given}", _samples(rows, subject))
        title = f"Cells that sources state, by {shown} of the study ({of})"
        found[f"cells_by_{subject}"] = (title, _cells(stated, subject))
    found["missing"] = ("Samples without label, by the fact that is missing", _missing(rows))
    return found


def _samples(rows: Sequence[Mapping[str, Any]], subject: str) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for row in rows:
        if subject == "years":
            counts[_year(row)] += row["samples"]
        else:
            counts.update(row["samples_by"][subject])
    return _ordered(counts, subject)


def _cells(rows: Sequence[Mapping[str, Any]], subject: str) -> dict[str, int]:
    """A study's cells count for each of its words: nothing says how they are divided."""
    counts: Counter[str] = Counter()
    for row in rows:
        for word in [_year(row)] if subject == "years" else row[subject]:
            counts[word] += row["cells_stated"]
    return _ordered(counts, subject)


def _year(row: Mapping[str, Any]) -> str:
    return str(row["year"] or "not known")


def _ordered(counts: Mapping[str, int], subject: str) -> dict[str, int]:
    if subject == "years":
        return dict(sorted(counts.items()))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _missing(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for row in rows:
        for each in row["missing"]:
            for fact in each["facts"]:
                counts[fact] += each["samples"]
    return _ordered(counts, "missing")


def _page(
    rows: Sequence[Mapping[str, Any]], counted: Mapping[str, Any], titles: Mapping[str, str]
) -> str:
    status = ", ".join(f"{count} {name}" for name, count in counted["by_status"].items())
    lines = [
        "# Catalogue of studies",
        "",
        "Generated from `curation/` by `make docs`; a test checks that it is current.",
        "",
        f"{counted['studies']} studies: {status}. Those not excluded hold "
        f"{counted['samples']:,} samples, {counted['labelled_samples']:,} of them labelled, of "
        f"{len(counted['cancer_types'])} cancer types, with {len(counted['drugs'])} drugs.",
        "",
        *(f"![{title}](figures/{name}.svg)" for name, title in titles.items()),
        "",
        "## Studies",
        "",
        "| study | status | organism | sources | cancer types | treatments | samples | labelled "
        "| stars | bases |",
        "|---|---|---|---|---|---|--:|--:|---|---|",
        *(_line(row) for row in rows if row["status"] != "excluded"),
        "",
        "## Excluded",
        "",
        "| study | reason |",
        "|---|---|",
        *(
            f"| {row['study_id']} | {_cell(str(row['reason']))} |"
            for row in rows
            if row["status"] == "excluded"
        ),
        "",
    ]
    return "\n".join(lines)


def _line(row: Mapping[str, Any]) -> str:
    shown = [
        f"[{row['study_id']}](../curation/{row['study_id']}/study.yaml)",
        row["status"],
        row["organism"],
        ", ".join(row["source_types"]),
        ", ".join(row["cancer_types"]),
        ", ".join(row["treatments"][:6]) + (", ..." if len(row["treatments"]) > 6 else ""),
        str(row["samples"]),
        str(row["labelled_samples"]),
        ", ".join(map(str, row["stars"])),
        ", ".join(row["bases"]),
    ]
    return "| " + " | ".join(map(_cell, shown)) + " |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def bar_chart(title: str, counts: Mapping[str, int]) -> str:
    """Draw counts as horizontal bars: SVG text, the same for the same counts."""
    shown = list(counts.items())[:BARS]
    rest = len(counts) - len(shown)
    longest = max((count for _, count in shown), default=1)
    height = 44 + 20 * max(len(shown), 1) + (20 if rest else 0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="720" height="{height}" '
        f'viewBox="0 0 720 {height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="12" y="22" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
    for place, (name, count) in enumerate(shown):
        top = 36 + 20 * place
        width = round(430 * count / longest, 1)
        parts += [
            f'<text x="228" y="{top + 13}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="236" y="{top + 2}" width="{width}" height="14" fill="#33658a"/>',
            f'<text x="{242 + width}" y="{top + 13}">{count:,}</text>',
        ]
    if rest:
        parts.append(f'<text x="236" y="{height - 12}" fill="#555555">and {rest} more</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
