"""The synthetic studies are reproducible, load, give the labels they should, and hold a signal."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy.sparse import csr_matrix
from scipy.stats import rankdata

from cellresponse.builders.gene_reference import load_axis
from cellresponse.builders.genes import GeneAxis, gene_axis
from cellresponse.builders.provenance import evidence_checksums
from cellresponse.builders.simulate import (
    PROGRAMME_LOG_FOLD_CHANGE,
    RESISTANCE_PROGRAMME,
    simulate,
)
from cellresponse.builders.study_part import StudyJob, build_study
from cellresponse.curation.labels import derive_labels
from cellresponse.curation.study import load_study, study_folders
from cellresponse.releases.matrix_store import open_matrix
from cellresponse.releases.specs import load_spec
from cellresponse.schema.errors import ReleaseError, StorageError
from cellresponse.schema.spec import Simulation

SPEC = load_spec("demo")
STUDIES = ["SYNTHETIC-1", "SYNTHETIC-2"]
SOUND = 40
DRUGS = sorted(RESISTANCE_PROGRAMME)
UNCALLED = "SYNTHETIC-2:synthetic-patient-7.before"


@dataclass(frozen=True)
class Part:
    """A study as built: its tables, its counts (cells, genes), and its summary."""

    cells: pd.DataFrame
    samples: pd.DataFrame
    labels: pd.DataFrame
    counts: csr_matrix
    summary: dict[str, Any]

    @property
    def logs(self) -> np.ndarray:
        """Natural logarithm of counts per ten thousand and one, shape (cells, genes)."""
        dense = self.counts.toarray()
        return np.log1p(1e4 * dense / dense.sum(axis=1, keepdims=True))

    def response(self, drug: str) -> pd.Series:
        """Response of each cell to a drug by the labels of whole samples; null without one."""
        labels = self.labels[(self.labels["drug_id"] == drug) & self.labels["cell_id"].isna()]
        return self.cells["sample_id"].map(labels.set_index("sample_id")["response"])


@pytest.fixture(scope="module")
def axis(tmp_path_factory: pytest.TempPathFactory) -> GeneAxis:
    genes = SPEC.organisms["human"].genes
    return load_axis("human", genes, gtf=None, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def simulated(axis: GeneAxis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated")
    assert simulate(simulation(), axis, folder) == (folder / "curation", folder / "mirror")
    return folder


@pytest.fixture(scope="module")
def parts(
    simulated: Path, axis: GeneAxis, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Part]:
    folder = tmp_path_factory.mktemp("parts")
    return {study: built(study, simulated, axis, folder) for study in STUDIES}


def simulation(seed: int = 1, sound: int = SOUND) -> Simulation:
    return Simulation(design="demo", seed=seed, cells_per_sample=sound)


def built(study: str, simulated: Path, axis: GeneAxis, folder: Path) -> Part:
    evidence = simulated / "curation" / study
    job = StudyJob(
        folder=evidence,
        evidence=evidence_checksums(evidence),
        organism=SPEC.organisms["human"],
        axis=axis,
        files={path.name: path for path in (simulated / "mirror" / study).iterdir()},
        part=folder / study,
    )
    path = build_study(job)
    tables = (pq.read_table(path / f"{name}.parquet") for name in ("cells", "samples", "labels"))
    cells, samples, labels = (table.to_pandas() for table in tables)
    store = open_matrix(path / "matrix.zarr", name=study)
    rows = store.rows(0, store.shape[0])
    counts = csr_matrix((rows.data, rows.indices, store.indptr), shape=store.shape)
    summary = json.loads((path / "study.json").read_text())
    return Part(cells, samples, labels, counts, summary)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def area_under_roc(positive: np.ndarray, scores: np.ndarray) -> float:
    ranks, number = rankdata(scores), positive.sum()
    pairs = number * (~positive).sum()
    return float((ranks[positive].sum() - number * (number + 1) / 2) / pairs)


# --- the spec and its gene table ------------------------------------------------------


def test_the_spec_names_the_simulated_studies(simulated: Path) -> None:
    found = {folder.name: load_study(folder) for folder in study_folders(simulated / "curation")}
    assert {name: study.manifest.revision for name, study in found.items()} == {
        name: study.revision for name, study in SPEC.studies.items()
    }


def test_the_planted_genes_are_the_first_of_the_table(axis: GeneAxis) -> None:
    """By the sha256 of the id, but for mitochondrial and readthrough genes (A-B)."""
    named = [
        (hashlib.sha256(gene.encode()).hexdigest(), name)
        for gene, name, contig in zip(axis.ids, axis.names, axis.contigs, strict=True)
        if contig != "MT" and "-" not in name
    ]
    planted = {gene for drug in RESISTANCE_PROGRAMME.values() for gene in drug.up + drug.down}
    assert planted == {name for _, name in sorted(named)[: len(planted)]}


def test_the_gene_table_follows_its_rule(axis: GeneAxis, shared: Path) -> None:
    genes = []
    with gzip.open(shared / "reference" / "genes.homo_sapiens.gtf.gz", "rt") as stream:
        for line in stream:
            said = dict(re.findall(r'(\w+) "([^"]*)"', line))
            gene = said["gene_id"]
            name = said.get("gene_name", gene)
            genes.append((gene, name, line.split("\t", 1)[0], said["gene_biotype"]))
    times = Counter(name for _, name, _, _ in genes)
    mitochondrial = [g for g in genes if g[2] == "MT" and g[3] in ("protein_coding", "Mt_rRNA")]
    others = [
        g
        for g in genes
        if g[3] == "protein_coding" and g[2] != "MT" and g[1] != g[0] and times[g[1]] == 1
    ]
    others.sort(key=lambda gene: hashlib.sha256(gene[0].encode()).hexdigest())
    chosen = sorted(gene[:3] for gene in mitochondrial + others[: 2000 - len(mitochondrial)])
    assert list(zip(axis.ids, axis.names, axis.contigs, strict=True)) == chosen


# --- files ----------------------------------------------------------------------------


def test_the_same_simulation_gives_the_same_bytes(
    simulated: Path, axis: GeneAxis, tmp_path: Path
) -> None:
    simulate(simulation(), axis, tmp_path)
    assert digests(tmp_path) == digests(simulated)


def test_another_seed_gives_other_counts(axis: GeneAxis, tmp_path: Path) -> None:
    for seed in (1, 2):
        simulate(simulation(seed, sound=1), axis, tmp_path / str(seed))
    first, second = digests(tmp_path / "1" / "mirror"), digests(tmp_path / "2" / "mirror")
    assert first.keys() == second.keys()
    same = {name for name in first if first[name] == second[name]}
    assert {name.rsplit(".", 3)[-3] for name in same} <= {"features", "barcodes"}


@pytest.mark.parametrize("study_id", STUDIES)
def test_everything_says_that_it_is_synthetic(simulated: Path, study_id: str) -> None:
    study = load_study(simulated / "curation" / study_id)
    manifest, samples = study.manifest, study.samples
    assert manifest.synthetic
    assert manifest.status == "ready"
    assert manifest.title.startswith("SYNTHETIC: ")
    assert all(file.url.startswith("https://synthetic.invalid/") for file in manifest.files)
    assert all(file.name.startswith("synthetic_") for file in manifest.files)
    assert samples["sample_id"].str.startswith("synthetic-").all()
    assert samples["note"].str.startswith("synthetic").all()
    assert set(samples["cancer_type"]) == {"synthetic-cancer"}
    assert set(samples["assay"]) == {"synthetic-assay"}
    for column in ("cell_line", "treatment"):
        assert samples[column].dropna().str.startswith("synthetic-").all()


def test_anndata_opens_the_h5ad_files(simulated: Path) -> None:
    for path in (simulated / "mirror" / "SYNTHETIC-2").glob("*.h5ad"):
        opened = anndata.read_h5ad(path)
        assert opened.shape[1] == 2000
        assert "MT-ND1" in opened.var_names


def test_an_axis_without_the_planted_genes_is_refused(tmp_path: Path) -> None:
    other = gene_axis("human", [("ENSG00000000003", "TSPAN6", "X")], "MT", name="table")
    with pytest.raises(ReleaseError, match=r"lacks genes.*'AK6, .*demo_genes\.csv"):
        simulate(simulation(), other, tmp_path)


def test_a_folder_that_cannot_be_written_is_one_clear_error(axis: GeneAxis, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        simulate(simulation(sound=1), axis, tmp_path / "file")


# --- labels ---------------------------------------------------------------------------


@pytest.mark.parametrize("drug", DRUGS)
def test_all_stars_and_both_responses_follow(simulated: Path, drug: str) -> None:
    labels = derive_labels(load_study(simulated / "curation" / "SYNTHETIC-1")).labels
    found = Counter((label.response, label.stars) for label in labels if label.drug_id == drug)
    assert found == {
        ("resistant", 1): 2, ("resistant", 2): 2, ("resistant", 3): 2, ("sensitive", None): 8
    }  # fmt: skip


def test_no_rule_lacks_a_fact(simulated: Path) -> None:
    for study in STUDIES:
        assert not derive_labels(load_study(simulated / "curation" / study)).missing


def test_shared_controls_are_not_copied(parts: dict[str, Part]) -> None:
    part = parts["SYNTHETIC-1"]
    controls = part.samples.loc[part.samples["arm"].isin(["untreated", "vehicle"]), "sample_id"]
    labels = part.labels[part.labels["sample_id"].isin(controls)]
    assert set(labels["response"]) == {"sensitive"}
    assert labels.groupby("sample_id")["drug_id"].agg(sorted).tolist() == [DRUGS] * len(controls)
    assert part.cells["cell_id"].is_unique
    assert part.cells.groupby("sample_id").size().max() <= SOUND
    assert "vehicle" in set(part.samples["arm"])


def test_only_malignant_cells_of_tumours_are_labelled(parts: dict[str, Part]) -> None:
    part = parts["SYNTHETIC-2"]
    clinical = part.labels[part.labels["basis"] == "clinical_response"]
    malignant = part.cells[part.cells["malignant"] == "malignant"]
    assert set(clinical["cell_id"]) == set(malignant["cell_id"])
    assert set(clinical["response"]) == {"sensitive", "resistant"}
    assert clinical["stars"].isna().all()
    assert clinical["sample_id"].nunique() == 6


def test_a_tumour_that_nobody_called_has_no_label(parts: dict[str, Part]) -> None:
    part = parts["SYNTHETIC-2"]
    cells = part.cells[part.cells["sample_id"] == UNCALLED]
    assert len(cells) > SOUND // 2
    assert set(cells["malignant"]) == {"unknown"}
    assert UNCALLED not in set(part.labels["sample_id"])


def test_the_resistant_line_has_its_parent(parts: dict[str, Part]) -> None:
    labels = parts["SYNTHETIC-2"].labels
    lines = labels[labels["basis"] == "resistant_line_vs_parental"]
    assert dict(zip(lines["response"], lines["stars"].fillna(0), strict=True)) == {
        "sensitive": 0,
        "resistant": 3,
    }


# --- what a build meets ---------------------------------------------------------------


@pytest.mark.parametrize("study", STUDIES)
def test_quality_control_finds_the_faulty_cells(parts: dict[str, Part], study: str) -> None:
    part = parts[study]
    counts, samples = part.summary["cells"], len(part.samples)
    assert counts["too_few_genes"] == samples
    assert counts["too_much_mitochondrial"] >= samples
    assert counts["kept"] >= 0.97 * samples * SOUND
    assert 700 < part.cells["n_genes"].median() < 1200


def test_every_barcode_rule_and_fault_occurs(simulated: Path, parts: dict[str, Part]) -> None:
    rules, readers = set(), set()
    for study in STUDIES:
        for file in load_study(simulated / "curation" / study).manifest.matrices().values():
            rules.add(file.barcodes.rule)
            readers.add(file.reader)
    assert rules == {"pattern", "table", "whole_file", "cells"}
    assert readers == {"dense_text", "10x_mtx", "h5ad"}
    first, second = parts["SYNTHETIC-1"].summary["files"]
    assert first["features_by_reason"] == {"by_id": 2000, "retired_id": 2, "spike_in": 3}
    assert second["features_by_reason"] == {"by_id_without_version": 2000}
    assert second["left_out"] == {"call is DBL": 10}
    for file in parts["SYNTHETIC-2"].summary["files"]:
        assert file["features_by_reason"] == {"by_name": 2000}


def test_barcodes_repeat_between_files_only(parts: dict[str, Part]) -> None:
    cells = parts["SYNTHETIC-2"].cells
    assert not cells["barcode"].is_unique
    assert cells["cell_id"].is_unique


# --- the signal -----------------------------------------------------------------------


@pytest.mark.parametrize("drug", DRUGS)
def test_the_programme_is_in_the_counts(parts: dict[str, Part], axis: GeneAxis, drug: str) -> None:
    """The fold change of survivors of the longest exposure is the one that was planted."""
    part = parts["SYNTHETIC-1"]
    dense = part.counts.toarray()
    shares = dense / dense.sum(axis=1, keepdims=True)
    response = part.response(drug).to_numpy()
    line = (part.cells["cell_line"] == "synthetic-line-3").to_numpy()
    position = {name: column for column, name in enumerate(axis.names)}
    for names, planted in zip(RESISTANCE_PROGRAMME[drug], (1, -1), strict=True):
        resistant, sensitive = (
            shares[line & (response == kind)][:, [position[name] for name in names]].mean(axis=0)
            for kind in ("resistant", "sensitive")
        )
        change = np.log(resistant / sensitive).mean()
        assert change == pytest.approx(planted * PROGRAMME_LOG_FOLD_CHANGE, abs=0.15)


@pytest.mark.parametrize("drug", DRUGS)
def test_what_one_batch_teaches_holds_in_the_other(
    parts: dict[str, Part], axis: GeneAxis, drug: str
) -> None:
    """Difference of the means of planted genes, across batches and for a line left out."""
    part = parts["SYNTHETIC-1"]
    planted = set(RESISTANCE_PROGRAMME[drug].up + RESISTANCE_PROGRAMME[drug].down)
    features = part.logs[:, [name in planted for name in axis.names]]
    response = part.response(drug).to_numpy(dtype=object)
    labelled = pd.notna(response)
    batch = part.cells["sample_id"].str.contains("batch-1").to_numpy()
    line = (part.cells["cell_line"] == "synthetic-line-2").to_numpy()
    for train in (batch, ~batch, ~line):
        resistant, sensitive = (
            features[labelled & train & (response == kind)].mean(axis=0)
            for kind in ("resistant", "sensitive")
        )
        test = labelled & ~train
        scores = features[test] @ (resistant - sensitive)
        assert area_under_roc(response[test] == "resistant", scores) > 0.93


@pytest.mark.parametrize("drug", DRUGS)
def test_the_batch_says_nothing_of_the_response(parts: dict[str, Part], drug: str) -> None:
    part = parts["SYNTHETIC-1"]
    samples = part.samples.set_index("sample_id")
    labels = part.labels[part.labels["drug_id"] == drug]
    batches = labels["sample_id"].map(samples["batch"])
    balance = pd.crosstab(batches, labels["response"])
    assert balance.shape == (2, 2)
    assert (balance.iloc[0] == balance.iloc[1]).all()


def test_the_batch_has_an_effect(parts: dict[str, Part]) -> None:
    part = parts["SYNTHETIC-1"]
    batch = part.cells["sample_id"].str.contains("batch-1").to_numpy()
    logs = part.logs
    often_seen = logs.mean(axis=0) > 1.5
    difference = (logs[batch].mean(axis=0) - logs[~batch].mean(axis=0))[often_seen]
    assert often_seen.sum() > 100
    assert 0.2 < difference.std() < 0.5
