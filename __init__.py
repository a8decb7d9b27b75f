"""Single-cell drug response as a data package that anyone can rebuild, check and load.

Examples
--------
>>> import cellresponse
>>> release = cellresponse.load("dist/demo")      # doctest: +SKIP
>>> cells = release.cells(drug="synthetic-drug-a", stars=2)  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cellresponse.releases.release import Release, load
    from cellresponse.releases.verify import verify
    from cellresponse.schema.errors import CellResponseError

__all__ = ["CellResponseError", "Release", "__version__", "load", "verify"]

__version__ = "0.1.0"

# Imported when first used: `import cellresponse` stays within 300 ms.
_PLACES = {
    "CellResponseError": "cellresponse.schema.errors",
    "Release": "cellresponse.releases.release",
    "load": "cellresponse.releases.release",
    "verify": "cellresponse.releases.verify",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'cellresponse' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)
