"""Models by name. Another package adds one by an entry point of its own."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, distributions
from typing import TYPE_CHECKING

from cellresponse.schema.errors import ModelError

if TYPE_CHECKING:
    from cellresponse.baselines.models.interface import Model

__all__ = ["GROUP", "all_models", "get_model", "model_names"]

GROUP = "cellresponse.models"


@cache
def _entries() -> dict[str, EntryPoint]:
    # Not `entry_points()`: it looks at one description a package, and a build leaves a stale
    # `cellresponse.egg-info` in a checkout, which comes first when the checkout is on the path.
    return {
        entry.name: entry
        for distribution in distributions()
        for entry in distribution.entry_points.select(group=GROUP)
    }


def model_names() -> list[str]:
    """Give the names of all models, ours and those of other packages; imports none."""
    return sorted(_entries())


def get_model(name: str) -> type[Model]:
    """Give the class of a model.

    Raises
    ------
    ModelError
        There is no such model, or it cannot be imported (torch is not installed).
    """
    if name not in _entries():
        raise ModelError("there is no such model", value=name, allowed=model_names())
    entry = _entries()[name]
    try:
        found: type[Model] = entry.load()
    except ImportError as error:
        package = entry.dist.name if entry.dist else entry.value
        raise ModelError(
            f"the model {name} of {package} cannot be imported: {error}",
            hint="Install what models need: make env",
        ) from None
    return found


def all_models() -> dict[str, type[Model]]:
    """Give the classes of all models, by name."""
    return {name: get_model(name) for name in model_names()}
