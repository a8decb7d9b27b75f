import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from mini_release import make_project

from cellresponse.releases import expression
from cellresponse.releases.expression import expression_spans, verify_expression
from cellresponse.releases.verify import verify
from cellresponse.schema.errors import ReleaseError


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A release with the config, its files and row groups cut small."""
    project = make_project(tmp_path_factory.mktemp("project"))
    project.spec.write_text(project.spec.read_text() + "expression: true\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expression, "FILE", 20)
        patch.setattr(expression, "ROW_GROUP", 7)
        yield project.build(tmp_path_factory.mktemp("out"))


def files(release):
    return sorted((release.folder / "expression").iterdir())


def test_it_says_what_the_matrices_say(release):
    rows = pa.concat_tables([pq.read_table(path) for path in files(release)])
    cells = release.cells()
    assert rows["cell_id"].to_pylist() == list(cells.obs_names)
    assert rows["study_id"].to_pylist() == cells.obs["study_id"].tolist()
    assert rows["genes"].combine_chunks().flatten().to_pylist() == cells.X.indices.tolist()
    assert rows["counts"].combine_chunks().flatten().to_pylist() == cells.X.data.tolist()
    assert pc.list_value_length(rows["genes"]).to_pylist() == np.diff(cells.X.indptr).tolist()
    assert set(rows["organism"].to_pylist()) == {"human"}
    genes = release.tables["genes"]
    assert genes["position"].to_pylist() == list(range(cells.n_vars))


def test_files_and_row_groups_are_bounded(release):
    assert [path.name for path in files(release)][:2] == [
        "MINI1.00000.parquet",
        "MINI1.00001.parquet",
    ]
    footers = [pq.read_metadata(path) for path in files(release)]
    assert max(footer.num_rows for footer in footers) == 20
    assert max(f.row_group(g).num_rows for f in footers for g in range(f.num_row_groups)) == 7


def test_positions_are_stored_as_differences(release):
    genes = pq.read_metadata(files(release)[0]).row_group(0).column(3)
    assert genes.path_in_schema == "genes.list.element"
    assert "DELTA_BINARY_PACKED" in genes.encodings


def test_verify_passes_and_the_content_hash_is_the_same_without_it(release, mini_release):
    assert verify(release.folder).content_hash == mini_release.content_hash


def test_the_card_has_the_config_and_datasets_streams_it(release):
    code = f"""
from datasets import load_dataset
rows = load_dataset({str(release.folder)!r}, "expression", streaming=True, split="train")
cells = list(rows)
print(len(cells), sum(sum(cell["counts"]) for cell in cells), len(cells[0]["genes"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    cells = release.cells()
    expected = f"{cells.n_obs} {cells.X.sum()} {np.diff(cells.X.indptr)[0]}"
    assert done.stdout.strip() == expected


def change_count(rows):
    counts = rows["counts"].to_pylist()
    counts[-1][-1] += 1
    return rows.set_column(4, rows.schema.field("counts"), pa.array(counts, pa.list_(pa.int32())))


def swap_cells(rows):
    return rows.take(pa.array([1, 0, *range(2, len(rows))]))


def wider(rows):
    return rows.set_column(4, "counts", rows["counts"].cast(pa.list_(pa.int64())))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (change_count, r"MINI2\.00000\.parquet: differs from the matrix 'cells 14 to 16'"),
        (swap_cells, r"differs from the matrix 'cells 0 to 7'"),
        (lambda rows: rows.slice(0, 10), "differs from the matrix 'cells 7 to 14'"),
        (lambda rows: rows.slice(0, 7), "differs from the matrix 'cells 7 to 14'"),
        (wider, "the columns are not those of the schema"),
    ],
)
def test_what_differs_from_the_matrix_is_found(release, tmp_path, change, said):
    folder = copied(release, tmp_path)
    path = folder / "expression" / "MINI2.00000.parquet"
    changed = change(pq.read_table(path))
    write_cut(path, changed, [7, 7, 2])
    with pytest.raises(ReleaseError, match=said):
        verify_expression(folder, True, studies(release))


def test_cells_too_many_are_found(release, tmp_path):
    folder = copied(release, tmp_path)
    path = folder / "expression" / "MINI2.00000.parquet"
    rows = pq.read_table(path)
    write_cut(path, pa.concat_tables([rows, rows]), [7, 7, 2, 16])
    with pytest.raises(ReleaseError, match="has 32 cells, not 16"):
        verify_expression(folder, True, studies(release))


def test_files_are_those_that_the_spec_asks_for(release, tmp_path):
    folder = copied(release, tmp_path)
    with pytest.raises(ReleaseError, match=r"MINI1\.00000\.parquet: belongs to no study"):
        verify_expression(folder, False, studies(release))
    (folder / "expression" / "MINI1.00001.parquet").unlink()
    with pytest.raises(ReleaseError, match=r"MINI1\.00001\.parquet: the file is missing"):
        verify_expression(folder, True, studies(release))
    (folder / "expression" / "MINI1.00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(ReleaseError, match=r"MINI1\.00001\.parquet: cannot be read"):
        verify_expression(folder, True, studies(release))


def test_a_study_without_cells_has_no_file():
    assert expression_spans("GSE1", 0) == {}


def write_cut(path, rows, sizes):
    """Write row groups of these sizes, as far as the rows go."""
    with pq.ParquetWriter(path, rows.schema) as writer:
        for start, size in zip(np.cumsum([0, *sizes]).tolist(), sizes, strict=False):
            writer.write_table(rows.slice(start, size))


def studies(release):
    return release.tables["studies"].to_pylist()


def copied(release, tmp_path):
    return shutil.copytree(release.folder, tmp_path / "copy")
