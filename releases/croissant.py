"""Describe a release for machine-learning tools: `croissant.json`.

Source of the vocabulary: Croissant 1.0 (http://mlcommons.org/croissant/1.0).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandera.pandas as pr
import pyarrow as pa
import pyarrow.parquet as pq

from cellresponse.releases.canonical import file_sha256
from cellresponse.releases.layout import CROISSANT
from cellresponse.releases.tables_io import table_files
from cellresponse.schema.tables import TABLES, arrow_schema

__all__ = ["write_croissant"]

TYPES = {"string": "sc:Text", "int64": "sc:Integer", "double": "sc:Float", "bool": "sc:Boolean"}
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def write_croissant(folder: Path, root: dict[str, Any], licences: list[dict[str, str]]) -> None:
    """Write `croissant.json`: a record set a table, a file set a matrix.

    Parameters
    ----------
    folder
        The release, with its tables, matrices and cohorts.
    root
        What `release.json` will say.
    licences
        One entry a study: name, title and, where known, path.
    """
    tables = {table: _paths(folder, table) for table in TABLES if table_files(folder, table)}
    more = {path.parent.name for path in folder.glob("*/*.parquet")} - {"tables"}
    stores = sorted(
        f"{place}/{path.name}"
        for place in ("matrices", "cohorts")
        for path in (folder / place).glob("*.zarr")
    )
    described = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": f"cellresponse-{root['release']}",
        "description": root["spec"].get("description") or root["title"],
        "version": root["release"],
        "citeAs": "The studies of the release, as its README.md lists them, and the release "
        f"with its content hash {root['content']['hash']}",
        "license": sorted({licence.get("path", licence["title"]) for licence in licences}),
        "distribution": [
            *(_file(folder, path) for paths in tables.values() for path in paths),
            *(_parts(f"tables/{name}") for name, paths in tables.items() if _is_split(paths)),
            *(_parts(name) for name in sorted(more)),
            *(_store(path) for path in stores),
        ],
        "recordSet": [
            *(_records(table, paths) for table, paths in tables.items()),
            *(_other_records(folder, name) for name in sorted(more)),
        ],
    }
    text = json.dumps(described, indent=1, ensure_ascii=False)
    (folder / CROISSANT).write_text(text, encoding="utf-8")


def _paths(folder: Path, table: str) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in table_files(folder, table)]


def _is_split(paths: list[str]) -> bool:
    """Whether a table is one file a study, in a folder of its own."""
    return paths[0].count("/") == 2


def _file(folder: Path, path: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "contentUrl": path,
        "contentSize": f"{(folder / path).stat().st_size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": file_sha256(folder / path),
    }


def _parts(below: str) -> dict[str, Any]:
    """Describe a folder of Parquet files."""
    return {
        "@type": "cr:FileSet",
        "@id": f"{below}/*.parquet",
        "name": below,
        "description": "Parquet files; the checksum of each is in datapackage.json",
        "encodingFormat": "application/x-parquet",
        "includes": f"{below}/*.parquet",
    }


def _store(path: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": path,
        "name": path,
        "description": "AnnData in Zarr v3; the checksum of each file is in datapackage.json",
        "encodingFormat": "application/vnd.zarr",
        "includes": f"{path}/**",
    }


def _records(table: str, paths: list[str]) -> dict[str, Any]:
    model = TABLES[table]
    source = (
        {"fileSet": {"@id": f"tables/{table}/*.parquet"}}
        if _is_split(paths)
        else {"fileObject": {"@id": paths[0]}}
    )
    return {
        "@type": "cr:RecordSet",
        "@id": table,
        "name": table,
        "description": (model.__doc__ or table).strip().splitlines()[0],
        "field": [_field(table, model, column, source) for column in arrow_schema(model).names],
    }


def _field(
    table: str, model: type[pr.DataFrameModel], column: str, source: dict[str, Any]
) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{table}/{column}",
        "name": column,
        "description": model.to_schema().columns[column].description,
        "dataType": TYPES[str(arrow_schema(model).field(column).type)],
        "source": source | {"extract": {"column": column}},
    }


def _other_records(folder: Path, name: str) -> dict[str, Any]:
    """Describe Parquet files that are no table of the schema, such as `expression/`."""
    file = min((folder / name).glob("*.parquet"))
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "field": [_plain_field(name, field) for field in pq.read_schema(file)],
    }


def _plain_field(name: str, field: pa.Field) -> dict[str, Any]:
    listed = pa.types.is_list(field.type)
    kind = field.type.value_type if listed else field.type
    return {
        "@type": "cr:Field",
        "@id": f"{name}/{field.name}",
        "name": field.name,
        "dataType": "sc:Integer" if pa.types.is_integer(kind) else TYPES[str(kind)],
        "repeated": listed,
        "source": {"fileSet": {"@id": f"{name}/*.parquet"}, "extract": {"column": field.name}},
    }
