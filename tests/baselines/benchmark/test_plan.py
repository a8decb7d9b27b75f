"""What stars take away from a task is refused or named; nothing is silently missing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from cellresponse.baselines.benchmark import plan as module
from cellresponse.baselines.benchmark.options import make_options
from cellresponse.baselines.benchmark.plan import plan
from cellresponse.releases.release import Release
from cellresponse.schema.errors import ReleaseError


def options(**more: Any) -> Any:
    return make_options(
        **({"track": "pooled", "by": "regimen", "as_published": frozenset()} | more)
    )


def laid_out(monkeypatch: pytest.MonkeyPatch, resistant: list[tuple[int, int | None]]) -> Any:
    """Lay out four folds of ten sensitive cells each, and resistant (fold, stars) groups of ten."""
    groups = [("sensitive", fold, None) for fold in range(4)]
    groups += [("resistant", fold, stars) for fold, stars in resistant]
    cells = pa.table(
        {
            "cell_id": [f"{row}-{cell}" for row in range(len(groups)) for cell in range(10)],
            "basis": ["cell_line_ic50"] * 10 * len(groups),
            **{
                name: [group[at] for group in groups for _ in range(10)]
                for at, name in enumerate(("response", "fold", "stars"))
            },
        }
    )
    numbers = sorted(set(cells["fold"].to_pylist()))
    folds = [SimpleNamespace(fold=number, cells=cells) for number in numbers]
    monkeypatch.setattr(module, "folds", lambda *_: folds)
    unused: Any = None
    return module._lay_out(unused, unused, "line", options(stars=2))


def test_a_lost_fold_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, laid, lost = laid_out(monkeypatch, [(0, 3), (1, 2), (4, 1)])
    assert list(laid) == ["0", "1", "2", "3"]
    assert lost == ["fold 4: no cell is left to test on (--stars 2 keeps 20 of 30 resistant cells)"]


@pytest.mark.parametrize(
    ("resistant", "reason"),
    [
        ([(0, 3), (1, 1)], "no resistant cells can be left out to test on"),
        ([(0, 1), (1, 1)], "no resistant cells, where 10 are needed"),
        ([(0, None), (1, None)], "20, labelled by cell_line_ic50, have no stars"),
    ],
)
def test_what_is_left_meets_the_rules_of_splits(
    monkeypatch: pytest.MonkeyPatch, resistant: list[tuple[int, int | None]], reason: str
) -> None:
    with pytest.raises(ReleaseError, match=reason) as raised:
        laid_out(monkeypatch, resistant)
    assert "--stars 2 keeps" in raised.value.problem


def test_every_fold_is_laid_out_or_named(demo_release: Release) -> None:
    whole, _ = plan(demo_release, options())
    jobs, problems = plan(demo_release, options(stars=3))
    named = [(one["task"], one["split"], one["reason"]) for one in problems]
    left = {(of.task, of.split): list(job.folds) for job in jobs for of in job.tasks}
    refused = 0
    for job in whole:
        for of in job.tasks:
            reasons = [why for task, split, why in named if (task, split) == (of.task, of.split)]
            folds = left.get((of.task, of.split))
            refused += folds is None
            assert len(reasons) == (1 if folds is None else len(job.folds) - len(folds))
            assert all("--stars 3" in why for why in reasons)
    assert refused


@pytest.mark.parametrize("faults", [frozenset(), frozenset({"random-split"})])
def test_nothing_left_names_stars_as_the_cause(
    demo_release: Release, faults: frozenset[str]
) -> None:
    chosen = options(track="pretreatment", stars=1, as_published=faults)
    with pytest.raises(ReleaseError, match=r"with --stars 1.*have no stars"):
        plan(demo_release, chosen)
