"""Linear sampling of volumes on the CPU in half the time: two pictures' worth of work instead of one volume's.

torch interpolates in pictures with vector instructions, in volumes one point after the other. With its slices below one
another a volume is a picture: what is found in it at two neighbouring slices is then mixed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from regcore.ops.sampling import sample, share_out

_MOST_ROWS = 1 << 16  # float32 tells 1/250 of one apart


def sample_quickly(data: Tensor, coordinates: Tensor) -> Tensor:
    """Sample ``data`` linearly at voxel ``coordinates``; outside, the nearest edge voxel counts.

    What `sample` does, but for places that are rounded, to 1/250 voxel at most: float32 counts the rows through all the
    slices that are looked at. Where those are more than that allows, `sample` does it. For what is iterated on, not for
    results.

    Args:
        data: ``(1, C, *size)``.
        coordinates: ``(1, D, *shape)``, voxels of ``data``, component order = axis order.

    Returns:
        ``(1, C, *shape)``.
    """
    if data.ndim != 5 or data.device.type != "cpu" or data.shape[2] < 2:
        return sample(data, coordinates, padding="border")
    depth, height, width = data.shape[2:]
    slices = coordinates[:, 0].clamp(0, depth - 1)
    above = slices.floor().clamp_(max=depth - 2)
    first, last = int(above.min()), int(above.max()) + 2
    rows = (last - first) * height
    if rows > _MOST_ROWS:
        return sample(data, coordinates, padding="border")
    picture = data[:, :, first:last].reshape(1, data.shape[1], rows, width)
    row = (above - first).mul_(height).add_(coordinates[:, 1].clamp(0, height - 1))
    lattice = torch.stack(
        (
            torch.add(coordinates[:, 2].mul(2.0 / width), 1.0 / width - 1.0),
            row.mul_(2.0 / rows).add_(1.0 / rows - 1.0),
        ),
        dim=-1,
    ).reshape(1, 1, -1, 2)
    upper = _in_picture(picture, lattice)
    lattice[..., 1] += 2.0 * height / rows
    mixed = upper.lerp_(_in_picture(picture, lattice), slices.sub_(above).reshape(1, 1, -1))
    return mixed.reshape(1, data.shape[1], *coordinates.shape[2:])


def _in_picture(picture: Tensor, lattice: Tensor) -> Tensor:
    """Return the values ``(1, C, P)`` at the points of ``lattice`` ``(1, 1, P, 2)``."""
    lattice, parts = share_out(lattice)
    pictures = picture.expand(parts, *picture.shape[1:])
    values = F.grid_sample(pictures, lattice, padding_mode="border", align_corners=False)
    return values.view(parts, picture.shape[1], -1).transpose(0, 1).reshape(1, picture.shape[1], -1)
