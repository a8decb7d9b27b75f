"""Read a dictionary out of a pickle without executing what the pickle says.

Some authors ship gene dictionaries as pickles. A pickle is a program; this reader runs
none of it: the few names that a dictionary of words and numbers needs are replaced by
functions of our own, any other name is refused.
"""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from cellresponse.schema.errors import ModelError

__all__ = ["read_dictionary"]

LIMIT = 256 * 1024 * 1024  # bytes; the largest dictionary of a known model has one


def read_dictionary[Value: (str, int, float)](path: Path, value: type[Value]) -> dict[str, Value]:
    """Read a pickled dictionary of words.

    Parameters
    ----------
    path
        Pickle file.
    value
        Type of the values; NumPy's scalars are taken as Python's.

    Raises
    ------
    ModelError
        The file is missing, too large, cut off, holds something else, or asks for
        anything beyond words and numbers.
    """
    try:
        if path.stat().st_size > LIMIT:
            raise ModelError("is too large for a dictionary", file=path)
        found = _Reader(io.BytesIO(path.read_bytes())).load()
    except _Refused as error:
        raise ModelError(
            "would execute code when read, and was not read",
            file=path,
            value=str(error),
            allowed="a pickled dictionary of words and numbers",
            hint="Do not use this file; take it from the model's authors again",
        ) from None
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", file=path) from None
    except ModelError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged pickle raises nearly anything
        raise ModelError(f"is no whole pickle ({type(error).__name__})", file=path) from None
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ModelError("is no dictionary of words", file=path)
    # A bool is an int to Python, but no number of a gene.
    kinds = (
        (int, np.integer) if value is int else (float, int, np.number) if value is float else str
    )
    if not all(isinstance(item, kinds) and not isinstance(item, bool) for item in found.values()):
        raise ModelError(f"has values that are no {value.__name__}", file=path)
    return {key: value(item) for key, item in found.items()}


class _Refused(Exception):
    """The pickle asks for a name that no dictionary needs."""


class _Dtype:
    """What `numpy.dtype` in a pickle becomes: a plain number type and its byte order."""

    def __init__(self, code: str, *_: object) -> None:
        self.dtype = np.dtype(code) if re.fullmatch("f[248]|[iu][1248]", code) else None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if self.dtype is not None and state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


def _scalar(kind: _Dtype, data: bytes) -> Any:
    if not isinstance(kind, _Dtype) or kind.dtype is None:
        raise _Refused("a NumPy scalar that is no number")
    return np.frombuffer(data, kind.dtype, count=1)[0].item()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise _Refused(f"the encoding {encoding}")
    return text.encode("latin1")


class _Reader(pickle.Unpickler):
    _allowed = {
        ("numpy", "dtype"): _Dtype,
        ("numpy.core.multiarray", "scalar"): _scalar,
        ("numpy._core.multiarray", "scalar"): _scalar,
        ("_codecs", "encode"): _encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise _Refused(f"{module}.{name}")
        return self._allowed[module, name]
