"""Dictionaries out of pickles, of which nothing is executed."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from cellresponse.baselines.models.parts.pickled_dictionary import read_dictionary
from cellresponse.schema.errors import ModelError


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def write(path: Path, found: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(found, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_plain_and_numpy_numbers(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "numbers.pkl"
    for value in (2.5, np.float64(2.5), np.float32(2.5), np.array([2.5], ">f8")[0]):
        assert read_dictionary(write(path, {"A": value, "B": 1}, protocol), float) == {
            "A": 2.5,
            "B": 1.0,
        }
    for number in (7, np.int64(7), np.uint16(7)):
        found = read_dictionary(write(path, {"A": number}, protocol), int)
        assert found == {"A": 7}
        assert type(found["A"]) is int


def test_nothing_is_executed(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    path = write(tmp_path / "bad.pkl", {"A": Malicious(mark)})
    with pytest.raises(ModelError, match=r"bad.pkl: would execute code when read"):
        read_dictionary(path, int)
    assert not mark.exists()
    # The same reader without the guard does execute it: the test can fail.
    pickle.loads(path.read_bytes())  # noqa: S301
    assert mark.exists()


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "numpy.load", "_codecs.decode"])
def test_no_name_but_those_of_numbers_is_found(tmp_path: Path, name: str) -> None:
    module, _, function = name.rpartition(".")
    path = tmp_path / "bad.pkl"
    path.write_bytes(f"c{module}\n{function}\n(S'1'\ntR.".encode())
    with pytest.raises(ModelError, match=f"was not read '{name}'"):
        read_dictionary(path, int)


def test_objects_do_not_hide_in_numpy_scalars(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.pkl", {"A": np.datetime64("2020-01-01")})
    with pytest.raises(ModelError, match="a NumPy scalar that is no number"):
        read_dictionary(path, int)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([1, 2], "is no dictionary of words"),
        ({1: 2}, "is no dictionary of words"),
        ({"A": "B"}, "has values that are no int"),
        ({"A": True}, "has values that are no int"),
        ({"A": 1.5}, "has values that are no int"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, found: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_dictionary(write(tmp_path / "other.pkl", found), int)


def test_missing_or_cut_off(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        read_dictionary(tmp_path / "missing.pkl", int)
    path = write(tmp_path / "cut.pkl", {"A": 1, "B": 2})
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ModelError, match="is no whole pickle"):
        read_dictionary(path, int)


def test_the_published_dictionaries(shared: Path) -> None:
    folder = shared / "artefacts"
    tokens = read_dictionary(folder / "gf_token_dictionary.pkl", int)
    medians = read_dictionary(folder / "gene_median_dictionary.pkl", float)
    assert sorted(tokens.values()) == list(range(25426))
    assert (tokens["<pad>"], tokens["<mask>"]) == (0, 1)
    assert medians.keys() == tokens.keys() - {"<pad>", "<mask>"}
    assert min(medians.values()) > 0
    assert len(read_dictionary(folder / "gene_name_id_dict.pkl", str)) == 40248
