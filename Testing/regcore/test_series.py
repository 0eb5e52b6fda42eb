import numpy as np
import pytest
import torch

from regcore.grid import Grid
from regcore.image import Image
from regcore.progress import Cancelled
from regcore.series import frames_of, register_series
from regcore.settings import Settings

from ..conftest import GRIDS
from .pairs import blobs_at, centred_grid

SIZE = (52, 56)


def beating(frame):
    """Return a 2D image whose inner part has moved by ``frame`` millimetres along x, and the motion at its middle."""
    grid = centred_grid(SIZE, (1.0, 1.0))
    points = grid.points().numpy()
    reach = np.exp(-((points / 14) ** 2).sum(-1))[..., None]
    seen = points - frame * reach * [1.0, 0.0]
    value = blobs_at(seen, radius=20.0) + 0.15 * np.sin(seen[..., 0] / 2) * np.sin(seen[..., 1] / 2.3)
    return Image(torch.from_numpy(value.clip(0).astype(np.float32)), grid)


@pytest.fixture(scope="module")
def frames():
    return [beating(shift) for shift in (0.0, 1.0, 2.5, 1.0)]


def test_every_frame_is_brought_to_the_chosen_one(frames):
    told = []
    results = register_series(frames, 0, progress=lambda *said: told.append(said))
    found = [result.transform(np.zeros((1, 2)))[0] for result in results]
    np.testing.assert_allclose(found, [[0, 0], [1.0, 0], [2.5, 0], [1.0, 0]], atol=0.35)
    assert not results[0].field.data.any()
    assert [fraction for fraction, *_ in told] == sorted(fraction for fraction, *_ in told)
    assert told[-1][:2] == (1.0, "frame 3: outputs")


def test_another_frame_may_be_chosen(frames):
    results = register_series(frames[:3], 2)
    # Points of frame 2 are 2.5 mm to the right of where they are in frame 0: the way there goes left.
    assert results[0].transform([[2.5, 0.0]])[0, 0] < 1.0
    assert not results[2].field.data.any()


def test_a_stored_series_is_cut_along_time():
    data = torch.stack([frame.data for frame in (beating(0.0), beating(1.0))])
    frames = frames_of(Image(data, Grid.of((*SIZE, 2), (1.2, 1.4, 30.0), (5, 6, 7))))
    assert len(frames) == 2
    assert torch.equal(frames[1].data, data[1])
    assert frames[0].grid.spacing == (1.2, 1.4)
    assert frames[0].grid.origin == (5, 6)


def test_a_plane_that_is_not_x_y_keeps_its_spacing_only():
    series = Image(torch.zeros(2, *SIZE[::-1]), Grid.of((*SIZE, 2), (1.2, 1.4, 9.0), (5, 6, 7), GRIDS["rotated"].axes))
    (frame, _) = frames_of(series)
    assert frame.grid.spacing == (1.2, 1.4)
    assert frame.grid.origin == (0, 0)


def test_what_cannot_be_done_is_said(frames):
    with pytest.raises(ValueError, match="expected a frame from 0 to 3, got 4"):
        register_series(frames, 4)
    with pytest.raises(ValueError, match="third axis is time"):
        frames_of(frames[0])
    broken = frames[1].with_data(torch.full_like(frames[1].data, float("nan")))
    with pytest.raises(ValueError, match="frame 1: "):
        register_series([frames[0], broken])
    with pytest.raises(Cancelled):
        register_series(frames, settings=Settings(), cancelled=lambda: True)
