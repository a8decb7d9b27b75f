import pyarrow as pa
import pyarrow.compute as pc
import pytest

from cellresponse.releases.loading.fold import fold_cells
from cellresponse.schema.errors import ReleaseError

TASK = "pooled/primary/human/drug_class=targeted/synthetic-drug-a"


def ids(cells):
    return set(cells["cell_id"].to_pylist())


def test_the_sides_of_a_fold_make_up_the_task(demo_release):
    whole = fold_cells(demo_release, task=TASK)
    train = fold_cells(demo_release, task=TASK, split="cell", fold=3)
    test = fold_cells(demo_release, task=TASK, split="cell", fold=3, part="test")
    assert ids(train) | ids(test) == ids(whole)
    assert not ids(train) & ids(test)
    assert 0 < len(test) < len(train)


def test_a_fold_alone_is_the_training_side_of_a_split_by_cell(demo_release):
    named = fold_cells(demo_release, task=TASK, split="cell", fold=3, part="train")
    assert fold_cells(demo_release, task=TASK, fold=3).equals(named)


NO_FOLD = (
    "a split or part needs a fold. Allowed: fold=0, 1, 2, 3, 4, 5, 6, 7, 8, 9. "
    "Name a fold, or leave split and part out for all cells of the task."
)


@pytest.mark.parametrize(
    "asked",
    [{"split": "cell"}, {"part": "test"}, {"part": "tset"}, {"split": "cell", "part": "train"}],
)
def test_a_side_without_a_fold_is_refused(demo_release, asked):
    with pytest.raises(ReleaseError) as caught:
        fold_cells(demo_release, task=TASK, **asked)
    assert str(caught.value) == NO_FOLD
    with pytest.raises(ReleaseError, match="a split or part needs a fold"):
        demo_release.loader(task=TASK, **asked)


def test_a_task_is_found_by_what_it_is_about(demo_release):
    wanted = {"track": "pooled", "by": "source", "category": "patient_tumour"}
    found = fold_cells(demo_release, **wanted)
    assert len(found) > 0
    assert ids(found) == ids(
        fold_cells(
            demo_release,
            task="pooled/validation/human/source=patient_tumour/synthetic-drug-a",
        )
    )


def test_stars_keep_the_sensitive_cells(demo_release):
    whole = fold_cells(demo_release, task=TASK)
    gold = fold_cells(demo_release, task=TASK, stars=3)
    sensitive = pc.sum(pc.equal(whole["response"], "sensitive")).as_py()
    assert pc.sum(pc.equal(gold["response"], "sensitive")).as_py() == sensitive
    assert pc.unique(gold["stars"].drop_null()).to_pylist() == [3]
    assert len(gold) < len(whole)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"task": "pooled/none"}, "there is no such task 'pooled/none'"),
        ({"task": TASK, "fold": 10}, "no such fold by cell 10. Allowed: 0, 1, 2"),
        ({"task": TASK, "fold": 0, "part": "both"}, "no such side 'both'. Allowed: train, test"),
        ({"task": TASK, "fold": 0, "split": "patient"}, "cells are of no known patient"),
        ({"task": TASK, "split": "pateint"}, "no such split 'pateint'. Allowed: cell, line"),
        ({"track": "pooled", "by": "drug_class", "category": "targeted"}, "2 tasks fit"),
        ({"track": "nowhere"}, "no such task 'nowhere'"),
        ({"task": TASK, "stars": 4}, "there are one to three stars 4"),
        ({"task": TASK, "stars": True}, "there are one to three stars True"),
    ],
)
def test_a_wrong_choice_is_one_clear_error(demo_release, asked, said):
    with pytest.raises(ReleaseError, match=said.replace(".", r"\.")):
        fold_cells(demo_release, **asked)


def test_an_empty_side_is_an_error(demo_release, monkeypatch):
    cells = fold_cells(demo_release, task=TASK)
    few = cells.filter(pc.equal(cells["stars"], 2))
    assert isinstance(few, pa.Table)
    monkeypatch.setattr("cellresponse.releases.tasks.Task.cells", lambda *_: few)
    with pytest.raises(ReleaseError, match="no cell matches"):
        fold_cells(demo_release, task=TASK, stars=3)
