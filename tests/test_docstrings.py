"""The examples in docstrings are right."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import cellresponse

MODULES = sorted(
    module.name
    for package in ("schema", "curation", "releases", "builders", "baselines")
    for module in pkgutil.walk_packages(
        importlib.import_module(f"cellresponse.{package}").__path__, f"cellresponse.{package}."
    )
)


@pytest.mark.parametrize("name", ["cellresponse", *MODULES])
def test_examples_are_right(name: str) -> None:
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_public_names_exist() -> None:
    for name in cellresponse.__all__:
        assert getattr(cellresponse, name) is not None
