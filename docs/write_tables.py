"""Write the generated parts of the documentation; a test checks that they are current.

Run it as `make docs`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from cellresponse.curation.catalogue import catalogue_rows
from cellresponse.curation.catalogue_page import catalogue_files
from cellresponse.curation.validate import StudyReport, validate
from cellresponse.schema.rules import LABEL_RULES, STAR_RULES
from cellresponse.schema.vocabulary import drugs

DOCS = Path(__file__).parent
CURATION = DOCS.parent / "curation"


@cache
def _reports() -> list[StudyReport]:
    return validate(CURATION)[0]


def rules_table() -> str:
    """Give the label rules as a Markdown table."""
    rows = [
        "| rule | arm of the labelled sample | label | basis | stars | meaning |",
        "|---|---|---|---|---|---|",
    ]
    for rule in LABEL_RULES:
        words = " or ".join(sorted(rule.outcomes))
        rows.append(
            f"| `{rule.id}` | {', '.join(sorted(rule.arms))} | {rule.response} where "
            f"`{rule.decides}` is {words} | {rule.basis or 'by design'} "
            f"| {'graded' if rule.starred else 'null'} | {rule.description} |"
        )
    return "\n".join(rows)


def stars_table() -> str:
    """Give the star rules as a Markdown table."""
    rows = ["| stars | rule | holds for |", "|--:|---|---|"]
    rows += [f"| {rule.stars} | `{rule.id}` | {rule.description} |" for rule in STAR_RULES]
    return "\n".join(rows)


def _counted(values: Iterable[str]) -> str:
    return ", ".join(f"{word} {n}" for word, n in Counter(values).most_common())


def totals_table() -> str:
    """Count the curated studies: by status, organism, source type, basis; drugs, cancer types."""
    listed = catalogue_rows(_reports())
    kept = [study for study in listed if study["status"] != "excluded"]

    def each(key: str) -> list[str]:
        return [word for study in kept for word in study[key]]

    kinds = Counter(drugs()[drug_id].extra["kind"] for drug_id in set(each("drugs")))
    rows = [
        ("folders by status", _counted(study["status"] for study in listed)),
        ("organisms", _counted(study["organism"] for study in kept)),
        ("source types", _counted(each("source_types"))),
        ("bases of labels", _counted(each("bases"))),
        ("agents by kind", ", ".join(f"{kind} {n}" for kind, n in kinds.most_common())),
        ("cancer types", str(len(set(each("cancer_types"))))),
        ("samples or arms", _sum(kept, "samples")),
        ("with a label", _sum(kept, "labelled_samples")),
        ("without a title", str(sum(study["title"] is None for study in kept))),
    ]
    head = ["| not excluded, but for the first line | studies |", "|---|---|"]
    return "\n".join([*head, *(f"| {name} | {text} |" for name, text in rows)])


def _sum(listed: list[dict[str, Any]], key: str) -> str:
    return str(sum(study[key] for study in listed))


def missing_table() -> str:
    """Count the samples and studies that lack a fact, by the fact."""
    reports = _reports()
    lacking: dict[str, set[tuple[str, str]]] = {}
    for report in reports:
        for each in report.derivation.missing:
            for fact in each.facts:
                lacking.setdefault(fact, set()).add((report.study.study_id, each.sample_id))
    rows = ["| fact | samples or arms | studies |", "|---|--:|--:|"]
    for fact, samples in sorted(lacking.items(), key=lambda item: -len(item[1])):
        rows.append(f"| `{fact}` | {len(samples)} | {len({study for study, _ in samples})} |")
    return "\n".join([*rows, f"| no label at all | | {_unlabelled(reports)} |"])


def _unlabelled(reports: list[StudyReport]) -> int:
    return sum(
        report.study.manifest.status != "excluded" and not report.derivation.labels
        for report in reports
    )


TABLES = {
    "rules": rules_table,
    "stars": stars_table,
    "totals": totals_table,
    "missing": missing_table,
}
PAGES = ("labels.md", "curation.md")


def filled(text: str) -> str:
    """Replace what stands between the markers of each generated part."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if begin in text:
            written = f"{begin}\n{table()}\n{end}"
            text = re.sub(f"{begin}.*?{end}", lambda _, w=written: w, text, flags=re.S)
    return text


def generated() -> dict[str, str]:
    """Give the text that each generated file below `docs/` should have."""
    pages = {name: filled((DOCS / name).read_text("utf-8")) for name in PAGES}
    return pages | catalogue_files(catalogue_rows(_reports()))


if __name__ == "__main__":
    for name, text in generated().items():
        (DOCS / name).parent.mkdir(exist_ok=True)
        (DOCS / name).write_text(text, encoding="utf-8")
