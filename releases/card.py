"""Write the dataset card, `README.md` of a release."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from cellresponse.releases.layout import CARD
from cellresponse.releases.tables_io import read_table
from cellresponse.schema.rules import STAR_RULES

__all__ = ["parquet_configs", "write_card"]

DEFAULT_CONFIG = "labels"
SIZES = {
    "n<1K": 10**3,
    "1K<n<10K": 10**4,
    "10K<n<100K": 10**5,
    "100K<n<1M": 10**6,
    "1M<n<10M": 10**7,
    "10M<n<100M": 10**8,
    "100M<n<1B": 10**9,
}


def write_card(folder: Path, root: dict[str, Any]) -> None:
    """Write the card from what the release holds.

    Parameters
    ----------
    folder
        The release, with its tables and whatever else has a place on the card.
    root
        What `release.json` will say.
    """
    studies = read_table(folder, "studies").to_pylist()
    body = [_header(folder, root, studies), f"# {root['title']}", ""]
    if any(study["synthetic"] for study in studies):
        body += ["**Synthetic data.** Every cell of this release is simulated.", ""]
    if root["spec"].get("description"):
        body += [root["spec"]["description"].strip(), ""]
    body += [
        f"Content hash `{root['content']['hash']}`.",
        "",
        *_examples(folder, root),
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
        "- Matrices hold raw counts on the organism's whole gene axis (table `genes`). Features",
        "  that it does not have are counted by reason in `release.json`.",
        "- Cells that failed quality control are counted in `release.json`, not shipped.",
        "",
        "## Citation",
        "",
        "Cite the studies whose cells you use, and name the release with its content hash:",
        "",
        *(_citation(study) for study in studies),
        "",
    ]
    (folder / CARD).write_text("\n".join(body), encoding="utf-8")


def parquet_configs(folder: Path) -> dict[str, str]:
    """Give the configs of a release: name, and the files as a path or pattern.

    Every Parquet table is one: a file in `tables/`, a folder of one file a study there,
    or another folder of Parquet files such as `expression/`.
    """
    found = {}
    for path in folder.glob("tables/*"):
        found[path.stem] = f"tables/{path.name}" + ("/*.parquet" if path.is_dir() else "")
    for path in folder.glob("*/*.parquet"):
        if path.parent.name != "tables":
            found[path.parent.name] = f"{path.parent.name}/*.parquet"
    return dict(sorted(found.items(), key=lambda item: (item[0] != DEFAULT_CONFIG, item[0])))


def _header(folder: Path, root: dict[str, Any], studies: list[dict[str, Any]]) -> str:
    configs: list[dict[str, Any]] = [
        {"config_name": name, "data_files": files}
        for name, files in parquet_configs(folder).items()
    ]
    configs[0]["default"] = True
    cells = sum(study["n_cells"] for study in studies)
    organisms = sorted({study["organism"] for study in studies})
    card = {
        "pretty_name": root["title"],
        "license": "other",
        "license_name": "per-study",
        "license_link": f"{CARD}#studies",
        "size_categories": [next((name for name, below in SIZES.items() if cells < below), "n>1B")],
        "tags": ["single-cell", "drug-response", "biology", "zarr", "anndata", *organisms],
        "configs": configs,
    }
    return f"---\n{yaml.safe_dump(card, sort_keys=False, allow_unicode=True)}---\n"


def _examples(folder: Path, root: dict[str, Any]) -> Iterator[str]:
    release, repo = root["release"], root["spec"].get("repo") or "ORG/NAME"
    yield from (
        "```python",
        "import cellresponse",
        "",
        f'release = cellresponse.load("{release}", repo="{repo}")',
        f'cells = release.cells(drug="{_example_drug(folder)}")  # an AnnData of these cells',
        "```",
        "",
        "Every table is also a config that needs no code of ours:",
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        f'labels = load_dataset("{repo}", "labels", revision="{release}", split="train")',
        "```",
        "",
    )


def _citation(study: dict[str, Any]) -> str:
    refs = [f"doi:{study['doi']}"] if study["doi"] else []
    refs += [f"PMID {study['pmid']}"] if study["pmid"] else []
    return f"- {study['study_id']}: {study['title']}" + (f" ({', '.join(refs)})" if refs else "")


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
