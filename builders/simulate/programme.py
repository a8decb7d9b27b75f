"""The planted resistance programme: which genes each synthetic drug shifts, and how far."""

from __future__ import annotations

from typing import NamedTuple

__all__ = [
    "DRUG_A",
    "DRUG_B",
    "PLANTED",
    "PROGRAMME_LOG_FOLD_CHANGE",
    "RESISTANCE_PROGRAMME",
    "Programme",
]


class Programme(NamedTuple):
    """Names of the genes that resistant cells express more, and less."""

    up: tuple[str, ...]
    down: tuple[str, ...]


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


DRUG_A, DRUG_B = "synthetic-drug-a", "synthetic-drug-b"
_BOTH_UP = _names("LRIT3 CDH19 GALE ATP2A3 ICAM2 RALGDS NUDT1 RPS7 MALSU1 OTX2")
_BOTH_DOWN = _names("ZCCHC9 GIMAP7 FOXI1 CGAS GPR19 OXER1")

RESISTANCE_PROGRAMME: dict[str, Programme] = {
    DRUG_A: Programme(
        up=_BOTH_UP + _names("TP53I3 ATP7B ALOX5AP CXCL11 GM2A VSIG10 BICDL2 SATB1"),
        down=_BOTH_DOWN + _names("TNPO3 H2BK1 FOXA3 MTX1 CD2AP AK6"),
    ),
    DRUG_B: Programme(
        up=_BOTH_UP + _names("UROD KBTBD7 SURF6 FAM234B RAPGEF6 ZXDA ZNF69 PDXP"),
        down=_BOTH_DOWN + _names("SLC30A6 STARD3 WFDC3 CT47A10 CNFN RNF31"),
    ),
}
"""Planted genes by drug; ten up and six down are shared.

They are the first of the gene table by the sha256 of their id, readthrough genes left
out: nothing is claimed of their biology.
"""
PLANTED = frozenset(gene for drug in RESISTANCE_PROGRAMME.values() for gene in drug.up + drug.down)
"""Names of all planted genes, of either drug."""

PROGRAMME_LOG_FOLD_CHANGE = 0.9
"""Natural logarithm of the fold change of a planted gene at full resistance."""
