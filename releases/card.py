"""Write the dataset card, `README.md` of a release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from cellresponse.releases.layout import CARD, table_path
from cellresponse.releases.tables_io import read_table, table_files
from cellresponse.schema.rules import STAR_RULES

__all__ = ["write_card"]


def write_card(folder: Path, root: dict[str, Any], tables: list[str]) -> None:
    """Write the card from what the release holds.

    Parameters
    ----------
    folder
        The release, with its tables.
    root
        What `release.json` will say.
    tables
        Names of the tables; each becomes a config.
    """
    studies = read_table(folder, "studies").to_pylist()
    body = [_header(folder, root, tables), f"# {root['title']}", ""]
    if any(study["synthetic"] for study in studies):
        body += ["**Synthetic data.** Every cell of this release is simulated.", ""]
    if root["spec"].get("description"):
        body += [root["spec"]["description"].strip(), ""]
    body += [
        f"Content hash `{root['content']['hash']}`.",
        "",
        "```python",
        "import cellresponse",
        "",
        f'release = cellresponse.load("{root["release"]}")',
        f'cells = release.cells(drug="{_example_drug(folder)}")',
        "```",
        "",
        "## Studies",
        "",
        "| study | organism | assays | cells | labelled | licence of the counts |",
        "|---|---|---|--:|--:|---|",
        *(_study_line(study) for study in studies),
        "",
        *_terms(studies),
        "## How labels are made",
        "",
        "A label is computed from evidence by a rule, never typed; `rule_id` names the rule and",
        "`evidence_ref` the facts it read, with their sources. A label belongs to a (cell,",
        "treatment) pair; a null `cell_id` stands for every cell of the sample. Resistant cells",
        "carry stars where a star rule grades them:",
        "",
        *(f"- {rule.stars}: {rule.description} (`{rule.id}`)" for rule in STAR_RULES),
        "",
        "## Known limits",
        "",
        "- Most labels of treated cells are confounded with the drug's own effect on expression:",
        "  compare within a `basis`, and never across.",
        "- Matrices hold raw counts on the organism's Ensembl axis. Features that the axis does",
        "  not have are counted by reason in `release.json`.",
        "- Cells that failed quality control are counted in `release.json`, not shipped.",
        "",
    ]
    (folder / CARD).write_text("\n".join(body), encoding="utf-8")


def _header(folder: Path, root: dict[str, Any], tables: list[str]) -> str:
    configs = [
        {
            "config_name": table,
            "data_files": table_path(table)
            if len(table_files(folder, table)) == 1
            else f"tables/{table}/*.parquet",
        }
        for table in tables
    ]
    for config in configs:
        if config["config_name"] == "labels":
            config["default"] = True  # type: ignore[assignment]
    card = {
        "pretty_name": root["title"],
        "license": "other",
        "license_name": "per-study",
        "tags": ["single-cell", "drug-response", "biology", "zarr", "anndata"],
        "configs": configs,
    }
    return f"---\n{yaml.safe_dump(card, sort_keys=False, allow_unicode=True)}---\n"


def _example_drug(folder: Path) -> str:
    drugs = read_table(folder, "labels")["drug_id"].to_pylist()
    return min(set(drugs), key=lambda drug: (-drugs.count(drug), drug)) if drugs else "DRUG"


def _study_line(study: dict[str, Any]) -> str:
    licence = study["licence"]
    if study["licence_url"]:
        licence = f"[{licence}]({study['licence_url']})"
    return (
        f"| {study['study_id']} | {study['organism']} | {study['assays'].replace(';', ', ')} "
        f"| {study['n_cells']:,} | {study['n_labelled_cells']:,} | {licence} |"
    )


def _terms(studies: list[dict[str, Any]]) -> list[str]:
    lines = [
        f"- {study['study_id']}: {study['evidence_terms']}"
        for study in studies
        if study["evidence_terms"]
    ]
    return ["Terms of the evidence resources:", "", *lines, ""] if lines else []
