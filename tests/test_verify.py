"""`verify` finds every change of a release, and names the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from cellresponse.releases.canonical import canonical_json, own_digest
from cellresponse.releases.datapackage import write_descriptor, write_root
from cellresponse.releases.layout import files_of
from cellresponse.releases.release import Release
from cellresponse.releases.tables_io import read_table, write_table
from cellresponse.releases.verify import verify
from cellresponse.schema.errors import CellResponseError

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(mini_release: Release, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(mini_release.folder, tmp_path / "mini"))


def test_right_release(mini_release: Release, run: Run) -> None:
    code, stdout, _ = run("verify", mini_release.folder, "--json")
    assert code == 0
    found = json.loads(stdout)
    assert found["content_hash"] == mini_release.content_hash
    assert found["files"] == len(list(files_of(mini_release.folder)))
    assert (found["cells"], found["labels"]) == (50, 6)


def test_in_processes(mini_release: Release) -> None:
    assert verify(mini_release.folder, workers=2) == verify(mini_release.folder)


def test_a_fault_that_a_process_finds(folder: Path, run: Run) -> None:
    change(folder, "labels", "drug_id", "nothing")
    sign(folder)
    code, stdout, stderr = run("verify", folder, "--workers", "2")
    assert (code, stdout) == (1, "")
    assert stderr == run("verify", folder)[2]
    assert "refers to what is not there" in stderr


def test_any_byte_of_any_file(folder: Path) -> None:
    rng = np.random.default_rng(7)
    for path in files_of(folder):
        file = folder / path
        right = file.read_bytes()
        places = {0, len(right) - 1, *rng.integers(0, len(right), 3).tolist()} if right else set()
        for place in sorted(places):
            changed = bytearray(right)
            changed[place] ^= 1 << int(rng.integers(8))
            file.write_bytes(bytes(changed))
            with pytest.raises(CellResponseError) as caught:
                verify(folder)
            assert path in str(caught.value)
        file.write_bytes(right)
    verify(folder)


def test_every_byte_of_the_root(folder: Path) -> None:
    from cellresponse.releases.root import read_root

    root = folder / "release.json"
    right = root.read_bytes()
    for place in range(len(right)):
        changed = bytearray(right)
        changed[place] ^= 0x04
        root.write_bytes(bytes(changed))
        with pytest.raises(CellResponseError, match=r"release\.json"):
            read_root(folder)


def test_any_file_removed(folder: Path) -> None:
    for path in list(files_of(folder)):
        kept = (folder / path).read_bytes()
        (folder / path).unlink()
        with pytest.raises(CellResponseError) as caught:
            verify(folder)
        assert path in str(caught.value)
        (folder / path).write_bytes(kept)


@pytest.mark.parametrize(
    "path", ["extra.txt", "tables/more.parquet", "matrices/MINI1.zarr/X/data/c/99", ".hidden"]
)
def test_any_file_added(folder: Path, path: str, run: Run) -> None:
    (folder / path).write_bytes(b"x")
    code, _, stderr = run("verify", folder)
    assert code == 1
    assert path in stderr


def test_empty_folder_added(folder: Path) -> None:
    (folder / "matrices" / "MINI3.zarr").mkdir()
    with pytest.raises(CellResponseError, match=r"MINI3\.zarr"):
        verify(folder)


def test_link_in_place_of_a_file(folder: Path, tmp_path: Path) -> None:
    table = folder / "tables" / "labels.parquet"
    shutil.move(table, tmp_path / "labels.parquet")
    table.symlink_to(tmp_path / "labels.parquet")
    with pytest.raises(CellResponseError, match=r"labels\.parquet.*link"):
        verify(folder)


def test_no_release(tmp_path: Path, run: Run) -> None:
    code, _, stderr = run("verify", tmp_path)
    assert code == 1
    assert "no release.json" in stderr


def sign(folder: Path) -> None:
    """Make checksums fit again, so that only the content can be wrong."""
    root = json.loads((folder / "release.json").read_bytes())
    for key in ("sha256", "datapackage_sha256"):
        root.pop(key)
    digest = write_descriptor(folder, name="mini", title=root["title"], licences=[])
    write_root(folder, root, digest)


def change(folder: Path, table: str, column: str, value: object, row: int = 0) -> None:
    rows = read_table(folder, table)
    values = rows[column].to_pylist()
    values[row] = value
    at = rows.schema.get_field_index(column)
    field = rows.schema.field(column)
    write_table(folder, table, rows.set_column(at, field, pa.array(values, field.type)))


@pytest.mark.parametrize(
    ("table", "column", "value", "said"),
    [
        ("labels", "drug_id", "nothing", "refers to what is not there"),
        ("labels", "sample_id", "MINI1:nobody", "refers to what is not there"),
        ("labels", "cell_id", "0" * 24, "is no cell of its sample"),
        ("labels", "response", "immune", "labels.parquet"),
        ("labels", "study_id", "MINI9", "rows of no study"),
        ("samples", "n_cells", 999, "n_cells"),
        ("samples", "treatment", "nothing", "refers to what is not there"),
        ("cells", "sample_id", "MINI1:nobody", "refers to what is not there"),
        ("cells", "cell_id", "0" * 24, "name different cells"),
        ("cells", "row", 5, "matrix order"),
        ("cells", "n_counts", 1, "n_counts"),
        ("cells", "n_genes", 1, "n_genes"),
        ("cells", "pct_mito", 101.0, "pct_mito"),
        ("studies", "n_cells", 1, "n_cells"),
        ("genes", "gene_id", "ENSG99999999999", "genes"),
        ("drugs", "name", "other", "drugs"),
    ],
)
def test_content_that_contradicts_itself(
    folder: Path, table: str, column: str, value: object, said: str
) -> None:
    change(folder, table, column, value)
    sign(folder)
    with pytest.raises(CellResponseError) as caught:
        verify(folder)
    assert said in str(caught.value)


def test_sensitive_label_with_stars(folder: Path) -> None:
    labels = read_table(folder, "labels")
    row = labels["response"].to_pylist().index("sensitive")
    change(folder, "labels", "stars", 2, row)
    sign(folder)
    with pytest.raises(CellResponseError, match="sensitive label has stars"):
        verify(folder)


def test_label_that_stands_twice(folder: Path) -> None:
    labels = read_table(folder, "labels")
    write_table(folder, "labels", pa.concat_tables([labels, labels.slice(0, 1)]))
    sign(folder)
    with pytest.raises(CellResponseError, match=r"labels\.parquet"):
        verify(folder)


def test_label_that_was_taken_out(folder: Path) -> None:
    labels = read_table(folder, "labels")
    write_table(folder, "labels", labels.filter(pc.not_equal(labels["stars"], 3)))
    sign(folder)
    with pytest.raises(CellResponseError, match=r"release\.json"):
        verify(folder)


def test_root_of_a_newer_schema(folder: Path, run: Run) -> None:
    path = folder / "release.json"
    root = json.loads(path.read_bytes()) | {"schema_version": 99}
    root["sha256"] = own_digest(root)
    path.write_bytes(canonical_json(root))
    code, _, stderr = run("info", folder)
    assert code == 1
    assert "Upgrade cellresponse" in stderr
