import itertools

import pytest
import torch

from regcore.ops.slabs import SlabRunner, slab_runner, slabs


@pytest.mark.parametrize(
    ("shape", "reach", "voxels"), [((37, 20, 20), 3, 2000), ((5, 300, 300), 8, 1000), ((7, 9), 2, 10)]
)
def test_rows_cover_the_axis_once_and_inner_finds_them(shape, reach, voxels):
    rows = torch.arange(shape[0])
    parts = list(slabs(shape, reach, voxels))
    assert len(parts) > 1
    assert torch.equal(torch.cat([rows[part.rows] for part in parts]), rows)
    for part in parts:
        assert torch.equal(rows[part.outer][part.inner], rows[part.rows])
        assert part.outer.start == max(0, part.rows.start - reach)
        assert part.outer.stop == min(shape[0], part.rows.stop + reach)


def test_runner_keeps_order_and_torchs_threads():
    before = torch.get_num_threads()
    parts = list(slabs((10, 4), 0, 4))
    with slab_runner(torch.device("cpu")) as run:
        assert torch.get_num_threads() == before
        assert run(lambda part: part.rows.start, parts) == SlabRunner()(lambda part: part.rows.start, parts)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("threads", [1, 2])
def test_a_runner_that_asks_ends_the_run_between_slabs(threads):
    questions, worked = itertools.count(), []

    def ask():
        if next(questions) >= 3:
            raise KeyboardInterrupt

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with slab_runner(torch.device("cpu")) as run:
            assert run.asking(lambda: None)(lambda slab: slab.rows.start, slabs((8, 1), voxels=2)) == [0, 2, 4, 6]
            with pytest.raises(KeyboardInterrupt):
                run.asking(ask)(worked.append, slabs((40, 1), voxels=1))
    finally:
        torch.set_num_threads(before)
    assert len(worked) == 3
