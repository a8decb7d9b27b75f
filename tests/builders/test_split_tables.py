"""Groups are dealt so that every fold has both responses, whatever the groups."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from task_release import spec, task_release

from cellresponse.builders.split_tables import deal, splits_table
from cellresponse.releases.split_rules import Counts
from cellresponse.schema.tables import Splits, check_table

counts = st.builds(Counts, st.integers(0, 9), st.integers(0, 9)).filter(lambda c: sum(c) > 0)


@given(st.dictionaries(st.text(max_size=6), counts, max_size=40), st.integers(1, 10))
def test_every_fold_has_both_responses(groups: dict[str | None, Counts], most: int) -> None:
    sensitive = sum(1 for c in groups.values() if c.sensitive)
    resistant = sum(1 for c in groups.values() if c.resistant)
    k = min(most, sensitive, resistant)
    if k == 0:
        return
    folds = deal(groups, k)
    assert folds.keys() == groups.keys()
    for fold in range(k):
        tested = [groups[group] for group, place in folds.items() if place == fold]
        assert any(c.sensitive for c in tested)
        assert any(c.resistant for c in tested)
    sizes = [list(folds.values()).count(fold) for fold in range(k)]
    assert max(sizes) - min(sizes) <= 2  # two kinds of groups are dealt round after the first


@given(st.dictionaries(st.text(max_size=6), counts, max_size=20), st.randoms(use_true_random=False))
def test_order_of_the_groups_does_not_matter(
    groups: dict[str | None, Counts], shuffler: object
) -> None:
    names = list(groups)
    shuffler.shuffle(names)  # type: ignore[attr-defined]
    assert deal({name: groups[name] for name in names}, 3) == deal(groups, 3)


def test_groups_are_dealt_alike_for_ever() -> None:
    """By a hash of their names: whoever changes it moves every fold of every later release."""
    groups = {"a": Counts(5, 0), "b": Counts(3, 0), "c": Counts(0, 2), "d": Counts(1, 9)}
    assert deal(groups, 2) == {"a": 0, "b": 1, "c": 1, "d": 0}


def test_the_table_is_the_same_every_time_and_fits_its_model(tmp_path: Path) -> None:
    task_release(tmp_path)
    table = splits_table(tmp_path, spec(), [])
    check_table(table, Splits, file="splits")
    assert table.equals(splits_table(tmp_path, spec(), []))
    key = [(row["task_id"], row["split"], row["group_id"] or "") for row in table.to_pylist()]
    assert key == sorted(key)
