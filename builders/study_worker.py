"""What the workers of a build need, for the server that they are forked from to import once."""

from __future__ import annotations

import ctypes
import gc

from cellresponse.builders.study_part import build_study
from cellresponse.releases.verify_study import verify_study
from cellresponse.schema.evidence import SampleEvidence
from cellresponse.schema.tables import TABLES

__all__ = ["build_study", "verify_study"]

# Pandera imports a part of itself, and keeps the schema, at the first call.
SampleEvidence.to_schema()
for _model in TABLES.values():
    _model.to_schema()

# Pieces of counts are made and dropped all the time. glibc gives such blocks back to the kernel,
# which clears each page anew; these processes keep up to half a GB (4 percent of a build).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # from glibc's malloc.h
if hasattr(_libc := ctypes.CDLL(None), "mallopt"):
    _libc.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # the largest that it takes
    _libc.mallopt(M_TRIM_THRESHOLD, 512 * 2**20)
    _libc.mallopt(M_ARENA_MAX, 1)

gc.freeze()  # what is imported lives as long as a worker: no collection looks at it again
