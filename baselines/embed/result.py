"""The file of embeddings: merged from finished blocks, with what made it in its metadata."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cellresponse.baselines.embed.cells import Block
from cellresponse.baselines.embed.work import part_path, read_part
from cellresponse.schema.errors import ModelError

__all__ = ["facts_of", "merge", "require_free"]

KEY = b"cellresponse"
ROW_GROUP = 64  # blocks: 65,536 cells


def facts_of(path: Path) -> dict[str, Any]:
    """Read what made a file of embeddings: model, weights, release, options, coverage.

    Raises
    ------
    ModelError
        It is no such file.
    """
    try:
        return dict(json.loads((pq.read_schema(path).metadata or {})[KEY]))
    except (OSError, pa.ArrowInvalid, KeyError, ValueError):
        raise ModelError("is no file of embeddings", file=path) from None


def require_free(path: Path, facts: dict[str, Any]) -> bool:
    """Tell whether a result is there already.

    Raises
    ------
    ModelError
        The place is taken by something else.
    """
    if not path.exists():
        return False
    there = facts_of(path)
    there.pop("coverage", None)
    if there == facts:
        return True
    differing = sorted(key for key in facts if there.get(key) != facts[key])
    raise ModelError(
        f"holds other embeddings, which differ in {', '.join(differing)}",
        file=path,
        hint="Choose another --out, or remove the file",
    )


def merge(
    blocks: Sequence[Block], parts: Path, out: Path, facts: dict[str, Any], dimension: int
) -> bool:
    """Write the result when every block is finished, then drop the parts.

    Of several processes that come here, the first does it.

    Parameters
    ----------
    blocks
        All of them.
    parts
        Folder of finished blocks.
    out
        Parquet file: `cell_id`, `embedding`.
    facts
        Kept in its metadata.
    dimension
        Length of an embedding.

    Returns
    -------
    bool
        Whether the result is there.
    """
    if not parts.is_dir():
        return out.exists()
    with (parts / "merge.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if out.exists():
            return True
        if not all(part_path(parts, block).is_file() for block in blocks):
            return False
        unfinished = out.with_name(f".{out.name}.part")
        _write(blocks, parts, unfinished, facts, dimension)
        unfinished.replace(out)
        shutil.rmtree(parts, ignore_errors=True)
    return True


def _write(
    blocks: Sequence[Block], parts: Path, out: Path, facts: dict[str, Any], dimension: int
) -> None:
    known = {**facts, **_coverage(blocks, parts)}
    schema = pa.schema(
        [
            pa.field("cell_id", pa.string(), nullable=False),
            pa.field("embedding", pa.list_(pa.float32(), dimension), nullable=False),
        ],
        metadata={KEY: json.dumps(known, sort_keys=True).encode()},
    )
    # Embeddings look like noise: dictionaries and compression cost time and save nothing.
    with pq.ParquetWriter(out, schema, compression="none", use_dictionary=False) as writer:
        for start in range(0, len(blocks), ROW_GROUP):
            some = blocks[start : start + ROW_GROUP]
            values = [read_part(part_path(parts, block))["embedding"] for block in some]
            ids = pa.array([cell for block in some for cell in block.cell_ids], pa.string())
            flat = pa.array(np.concatenate(values).reshape(-1), pa.float32())
            lists = pa.FixedSizeListArray.from_arrays(flat, dimension)
            writer.write_table(pa.Table.from_arrays([ids, lists], schema=schema))


def _coverage(blocks: Sequence[Block], parts: Path) -> dict[str, Any]:
    """Sum up how much of the counts the model's vocabulary knows."""
    found = [read_part(part_path(parts, block)) for block in blocks]
    if any("counts" not in part for part in found):
        return {}
    shares = np.concatenate([part["counts"] for part in found])
    genes_found, genes, vocabulary = (int(n) for n in found[0]["genes"])
    return {
        "coverage": {
            "genes_found": genes_found,
            "genes": genes,
            "vocabulary": vocabulary,
            "counts_median": round(float(np.median(shares)), 6),
        }
    }
