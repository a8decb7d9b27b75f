"""What stars take away from a task is refused or named; nothing is silently missing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cellresponse.baselines.benchmark import plan as module
from cellresponse.baselines.benchmark.options import make_options
from cellresponse.baselines.benchmark.plan import plan, random_split
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


def few_shot(monkeypatch: pytest.MonkeyPatch, seed: int) -> Any:
    """Lay out two folds of 15 cells of each response, and ten cells that no fold tests."""
    fold = np.repeat([0.0, 1.0, np.nan], [30, 30, 10])
    cells = pa.table(
        {
            "cell_id": [f"c{row}" for row in range(70)],
            "basis": ["time_course"] * 70,
            "response": ["sensitive", "resistant"] * 35,
            "fold": pa.array(fold, pa.int64(), from_pandas=True),
            "stars": pa.nulls(70, pa.int64()),
        }
    )
    monkeypatch.setattr(
        module, "folds", lambda *_: [SimpleNamespace(fold=n, cells=cells) for n in (0, 1)]
    )
    unused: Any = None
    chosen = options(track="few-shot", shots=3, seed=seed)
    _, sensitive, laid, lost = module._lay_out(unused, unused, "study", chosen)
    assert not lost
    return sensitive, laid


def test_shots_are_moved_and_no_cell_is_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    sensitive, laid = few_shot(monkeypatch, 0)
    for name, (train, test) in laid.items():
        assert sorted([*train, *test]) == list(range(70))  # each cell once
        assert set(range(60, 70)) <= set(train)
        own = np.arange(30) + 30 * int(name)
        moved = np.intersect1d(train, own)
        assert np.bincount(sensitive[moved].astype(int)).tolist() == [3, 3]
    _, other = few_shot(monkeypatch, 1)
    assert not np.array_equal(laid["0"][0], other["0"][0])


def test_the_published_split_tests_on_a_fifth() -> None:
    ((train, test),) = random_split(101, 0, None).values()
    assert (len(train), len(test)) == (81, 20)
    assert sorted([*train, *test]) == list(range(101))
    for other in (random_split(101, 1, None), random_split(101, 0, "svc")):
        assert not np.array_equal(other["0"][1], test)


def test_other_labels_or_folds_are_another_job() -> None:
    cells = pd.DataFrame({"cell_id": list("abcd")})
    sensitive = np.array([True, False, True, False])
    rows = np.arange(4)
    laid = {"0": (rows[:2], rows[2:]), "1": (rows[2:], rows[:2])}
    swapped = {"0": laid["1"], "1": laid["0"]}
    marks = {
        module._signature(cells, sensitive, laid),
        module._signature(cells, ~sensitive, laid),
        module._signature(cells, sensitive, swapped),
        module._signature(cells, sensitive, {"0": laid["0"]}),
        module._signature(cells[::-1], sensitive, laid),
    }
    assert len(marks) == 5


@pytest.mark.parametrize("track", ["zero-shot", "external"])
def test_results_carry_the_track_that_was_asked_for(demo_release: Release, track: str) -> None:
    jobs, _ = plan(demo_release, options(track=track, by="cancer"))
    assert {of.track for job in jobs for of in job.tasks} == {track}
