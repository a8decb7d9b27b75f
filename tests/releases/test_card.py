"""The card of a release: what its header says to the Hub, and its text to people."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from cellresponse.releases.card import parquet_configs, write_card
from cellresponse.releases.release import Release


def header(folder: Path) -> dict[str, Any]:
    _, text, _ = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(text)


def test_header(mini_release: Release) -> None:
    said = header(mini_release.folder)
    assert said["license"] == "other"
    assert said["size_categories"] == ["n<1K"]
    assert [one["config_name"] for one in said["configs"] if one.get("default")] == ["labels"]
    assert sorted(one["config_name"] for one in said["configs"]) == list(mini_release.tables)
    for one in said["configs"]:
        assert len(list(mini_release.folder.glob(one["data_files"]))) == 1


def test_text(mini_release: Release) -> None:
    text = (mini_release.folder / "README.md").read_text()
    for part in ("## Studies", "## How labels are made", "## Known limits", "## Citation"):
        assert part in text
    assert mini_release.content_hash in text
    assert "Synthetic data" in text
    for study in mini_release.tables["studies"].to_pylist():
        assert f"| {study['study_id']} |" in text
        assert study["licence"] in text


def test_configs_follow_the_files(mini_release: Release, tmp_path: Path) -> None:
    """A table of one file a study, and a folder that a later version may add, are configs too."""
    folder = Path(shutil.copytree(mini_release.folder, tmp_path / "mini"))
    (folder / "tables" / "cells").mkdir()
    (folder / "tables" / "cells.parquet").rename(folder / "tables" / "cells" / "MINI1.parquet")
    (folder / "expression").mkdir()
    pq.write_table(pa.table({"cell_id": ["a"]}), folder / "expression" / "MINI1.parquet")
    configs = parquet_configs(folder)
    assert configs["cells"] == "tables/cells/*.parquet"
    assert configs["expression"] == "expression/*.parquet"
    assert next(iter(configs)) == "labels"
    root = dict(mini_release.root)
    root["spec"] = root["spec"] | {"repo": "org/data"}
    write_card(folder, root)
    assert {"config_name": "expression", "data_files": "expression/*.parquet"} in header(folder)[
        "configs"
    ]
    assert 'repo="org/data"' in (folder / "README.md").read_text()
