from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellresponse.releases.loading.plan import GAP, BatchPlan, Load


def plan(rows, **changed):
    settings = {
        "batch_size": 8,
        "block_size": 4,
        "in_memory": 32,
        "seed": 3,
        "shuffle": True,
        "rank": 0,
        "world_size": 1,
    }
    return BatchPlan(rows=np.asarray(rows, dtype=np.int64), **(settings | changed))


def batches_of(loads):
    """Rows of each batch, as the loads give them."""
    found = []
    for load in loads:
        read = np.concatenate([np.arange(run.start, run.stop) for run in load.slices])
        rows = read[load.order]
        found += [part.tolist() for part in np.split(rows, np.cumsum(load.sizes)[:-1])]
    return found


def in_turn(workers):
    """Batches as DataLoader gives them: one of each worker in turn, passing over empty ones."""
    waiting = [list(batches) for batches in workers]
    found = []
    while any(waiting):
        found += [batches.pop(0) for batches in waiting if batches]
    return found


@st.composite
def plans(draw):
    total = draw(st.integers(1, 400))
    rows = np.flatnonzero(np.random.default_rng(draw(st.integers(0, 9))).random(total) < 0.6)
    rows = np.append(rows, total) * draw(st.sampled_from([1, 1, 50]))
    world = draw(st.integers(1, min(5, len(rows))))
    settings = {
        "batch_size": draw(st.integers(2 if world > 1 else 1, 40)),
        "block_size": draw(st.integers(1, 70)),
        "in_memory": draw(st.integers(1, 200)),
        "seed": draw(st.integers(0, 99)),
        "shuffle": draw(st.booleans()),
    }
    return [plan(rows, rank=rank, world_size=world, **settings) for rank in range(world)]


@given(plans(), st.integers(0, 5), st.integers(1, 4))
def test_every_cell_comes_once_over_ranks_and_workers(ranks, epoch, workers):
    given = [
        batches_of(rank.loads(epoch, 0, worker, workers))
        for rank in ranks
        for worker in range(workers)
    ]
    rows = sorted(chain.from_iterable(chain.from_iterable(given)))
    assert rows == ranks[0].rows.tolist()


@given(plans(), st.integers(0, 5))
def test_ranks_keep_step_and_only_the_end_is_smaller(ranks, epoch):
    for rank in ranks:
        sizes = [len(batch) for batch in batches_of(rank.loads(epoch))]
        assert len(sizes) == rank.n_batches == ranks[0].n_batches
        assert min(sizes) > 0
        assert set(sizes[:-2]) <= {rank.batch_size}
        assert max(sizes) <= rank.batch_size


@given(plans(), st.integers(0, 5), st.integers(2, 4))
def test_workers_give_the_same_batches(ranks, epoch, workers):
    alone = batches_of(ranks[0].loads(epoch))
    shared = [batches_of(ranks[0].loads(epoch, 0, worker, workers)) for worker in range(workers)]
    assert sorted(chain.from_iterable(shared)) == sorted(alone)


@given(plans(), st.integers(0, 5), st.integers(1, 4), st.data())
def test_a_restart_gives_the_rest_in_the_same_order(ranks, epoch, workers, data):
    one = ranks[0]
    start = data.draw(st.integers(0, one.n_batches))

    def given_by_all(start):
        return in_turn(
            [batches_of(one.loads(epoch, start, worker, workers)) for worker in range(workers)]
        )

    assert given_by_all(start) == given_by_all(0)[start:]


@given(plans(), st.integers(0, 5))
def test_a_load_reads_wanted_rows_and_small_gaps(ranks, epoch):
    for load in ranks[0].loads(epoch):
        assert isinstance(load, Load)
        for before, after in zip(load.slices, load.slices[1:], strict=False):
            assert after.start - before.stop > GAP
        rows = np.concatenate(batches_of([load]))
        read = np.concatenate([np.arange(run.start, run.stop) for run in load.slices])
        assert np.isin(rows, read).all()
        assert np.diff(np.sort(rows), prepend=read[0], append=read[-1]).max() <= max(
            GAP + 1, np.diff(read).max(initial=0)
        )


def test_seed_and_epoch_fix_the_batches():
    first = batches_of(plan(range(300)).loads(0))
    assert first == batches_of(plan(range(300)).loads(0))
    assert first != batches_of(plan(range(300)).loads(1))
    assert first != batches_of(plan(range(300), seed=4).loads(0))


def test_neighbours_of_a_block_change_with_the_epoch():
    one = plan(range(512), block_size=64, in_memory=64, batch_size=64)
    borders = {min(batch) % 64 for epoch in range(4) for batch in batches_of(one.loads(epoch))}
    assert len(borders) > 2


def test_batches_mix_distant_cells():
    one = plan(range(10_000), block_size=16, in_memory=1024, batch_size=64)
    spread = [np.ptp(batch) for batch in batches_of(one.loads(0))]
    assert min(spread) > 5_000


def test_without_shuffle_cells_come_in_order():
    rows = np.arange(0, 900, 3)
    found = chain.from_iterable(batches_of(plan(rows, shuffle=False).loads(7)))
    assert list(found) == rows.tolist()


@pytest.mark.parametrize(("step", "at_most"), [(1, 1300), (10, 1300), (100, 1024)])
def test_memory_is_bounded_whatever_is_read_along(step, at_most):
    one = plan(np.arange(20_000) * step, batch_size=64, block_size=64, in_memory=1024)
    read = [sum(run.stop - run.start for run in load.slices) for load in one.loads(0)]
    assert max(read) <= at_most
    assert max(read) >= 512
