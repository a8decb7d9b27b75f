"""Models by name, from entry points."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, EntryPoint, EntryPoints
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from cellresponse.baselines.models import registry
from cellresponse.baselines.models.interface import Model
from cellresponse.schema.errors import ModelError

ROOT = Path(__file__).parent.parent.parent.parent


def test_every_model_of_the_project_is_registered_and_says_what_it_is() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = set(project["entry-points"][registry.GROUP])
    assert names <= set(registry.model_names())
    for name in names:
        kind = registry.get_model(name)
        assert issubclass(kind, Model)
        assert kind.card.name == name
        assert kind.card.code_licence
        assert kind.card.weights_licence
        assert kind.card.sources
        assert [file for file in kind.card.files if file.role == "weights"]
    assert set(registry.all_models()) >= names


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"no such model 'geneformr'. Allowed: .*geneformer"):
        registry.get_model("geneformr")


@pytest.fixture
def other_package(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    entries = [
        EntryPoint("theirs", "cellresponse.baselines.models.tgpt:TGPT", registry.GROUP),
        EntryPoint("broken", "no_such_package_here:Model", registry.GROUP),
    ]
    other = cast(Distribution, SimpleNamespace(entry_points=EntryPoints(entries)))
    real = registry.distributions
    monkeypatch.setattr(registry, "distributions", lambda: [*real(), other])
    registry._entries.cache_clear()
    yield
    registry._entries.cache_clear()


def test_another_package_adds_a_model(other_package: None) -> None:
    assert "theirs" in registry.model_names()
    assert registry.get_model("theirs").card.name == "tgpt"
    with pytest.raises(ModelError, match=r"the model broken of .* cannot be imported"):
        registry.get_model("broken")


def test_models_run_without_what_reads_releases() -> None:
    """A machine with a GPU and exported arrays needs neither AnnData nor Zarr."""
    script = (
        "import sys\n"
        "from cellresponse.baselines.models.registry import all_models\n"
        "assert 'torch' not in sys.modules\n"
        "all_models()\n"
        "heavy = {'anndata', 'zarr', 'pyarrow', 'pandas', 'transformers'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "[]"
