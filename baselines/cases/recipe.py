"""What a case study is, and the recipes that are declared."""

from __future__ import annotations

from importlib import resources
from typing import Annotated, Literal

import yaml
from pydantic import Field, model_validator

from cellresponse.schema.errors import ReleaseError
from cellresponse.schema.study import word
from cellresponse.schema.yaml_file import Strict

__all__ = ["PublishedFigure", "Recipe", "get_recipe", "recipes"]


class PublishedFigure(Strict):
    """A figure of the paper that a recipe repeats."""

    model: str
    metric: str
    value: float


class Recipe(Strict):
    """A case study.

    Attributes
    ----------
    drug, basis
        Labels that are used. basis None: of any basis.
    train, test
        Columns and the values that a side's cells may have.
    leave_out
        In place of `test`: every value of this column is tested by what was trained on
        the others.
    studies
        Studies that it needs and no release holds.
    """

    title: str
    drug: str
    basis: Annotated[str, word("basis")] | None = None
    train: dict[str, list[str]] = Field(min_length=1)
    test: dict[str, list[str]] | None = None
    leave_out: Literal["cell_line", "batch", "sample_id"] | None = None
    studies: list[str] = []
    published: list[PublishedFigure] = []
    doi: str | None = None

    @model_validator(mode="after")
    def _one_way_to_test(self) -> Recipe:
        if (self.test is None) == (self.leave_out is None):
            raise ValueError("a recipe has either `test` or `leave_out`")
        return self


def recipes() -> dict[str, Recipe]:
    """Give the declared recipes by name."""
    text = resources.files("cellresponse.baselines.cases").joinpath("recipes.yaml").read_text()
    declared = yaml.safe_load(text)["recipes"]
    return {name: Recipe(**recipe) for name, recipe in declared.items()}


def get_recipe(name: str) -> Recipe:
    """Give a recipe.

    Raises
    ------
    ReleaseError
        There is none of that name.
    """
    known = recipes()
    if name not in known:
        raise ReleaseError("there is no such case study", value=name, allowed=sorted(known))
    return known[name]
