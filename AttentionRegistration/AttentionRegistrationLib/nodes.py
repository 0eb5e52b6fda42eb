"""Slicer's nodes and the engine's volumes, both ways: the only place where RAS becomes LPS and LPS becomes RAS.

Slicer's world is RAS, the engine's is LPS as in ITK; both in mm. A transform of the engine maps fixed to moving points.
A transform node of Slicer carries what is under it from moving to fixed space, so it holds the engine's map as its way
*from* the parent; the other way round files could not be read by ITK.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util import numpy_support

from AttentionRegistrationLib.request import Node

Matrix = NDArray[np.float64]
Array = NDArray[Any]

_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])  # its own inverse
_TOLERANCE = 1e-3  # cosine between axes, as the engine's grid allows


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where voxels lie in the world.

    Attributes:
        size: voxels along i, j, k.
        matrix: ``(4, 4)``, from voxel (i, j, k) to LPS mm.
    """

    size: tuple[int, int, int]
    matrix: Matrix

    @classmethod
    def of_ras(cls, size: Sequence[int], ijk_to_ras: Matrix) -> Geometry:
        """Build from Slicer's matrix."""
        i, j, k = (int(n) for n in size)
        return cls((i, j, k), _FLIP @ ijk_to_ras)

    @classmethod
    def of_message(cls, volume: dict[str, Any], shape: Sequence[int]) -> Geometry:
        """Build from what the worker says of an array of ``shape`` (k, j, i)."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.reshape(volume["direction"], (3, 3)) * np.asarray(volume["spacing"])
        matrix[:3, 3] = volume["origin"]
        k, j, i = (int(n) for n in shape[:3])
        return cls((i, j, k), matrix)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The array's order, (k, j, i)."""
        return self.size[2], self.size[1], self.size[0]

    @property
    def spacing(self) -> Matrix:
        """Distance between neighbours along i, j, k (mm)."""
        return np.asarray(np.linalg.norm(self.matrix[:3, :3], axis=0))

    @property
    def ijk_to_ras(self) -> Matrix:
        """Slicer's matrix."""
        return np.asarray(_FLIP @ self.matrix)

    def message(self, array: str) -> dict[str, object]:
        """Return what the worker is told of the volume in file ``array``."""
        return {
            "array": array,
            "spacing": self.spacing.tolist(),
            "origin": self.matrix[:3, 3].tolist(),
            "direction": (self.matrix[:3, :3] / self.spacing).ravel().tolist(),
        }

    def check(self, role: str) -> None:
        """Refuse what no ITK image can be.

        Raises:
            ValueError: an axis has no length, or the axes are not at right angles.
        """
        spacing = self.spacing
        if not np.isfinite(self.matrix).all() or spacing.min() < 1e-9:
            raise ValueError(f"{role}: a voxel has no size in one direction; correct the volume's spacing.")
        axes = self.matrix[:3, :3] / spacing
        if np.abs(axes.T @ axes - np.eye(3)).max() > _TOLERANCE:
            raise ValueError(
                f"{role}: its axes are not at right angles, by itself or by the transform it is under; "
                "resample it first, for example with the module Resample Scalar/Vector/DWI Volume."
            )


def world_matrix(node: Node, role: str) -> Matrix:
    """Return the ``(4, 4)`` matrix from a node's own space to the world (RAS mm).

    Raises:
        ValueError: a transform that it is under is not linear.
    """
    parent = node.GetParentTransformNode()
    return np.eye(4) if parent is None else _to_world(parent, f"{role}: '{node.GetName()}' is under")


def _to_world(transform: Node, what: str) -> Matrix:
    if not transform.IsTransformToWorldLinear():
        raise ValueError(
            f"{what} the transform '{transform.GetName()}', which is not linear; "
            "harden it on a copy of the node, or choose another."
        )
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(matrix)
    return from_vtk(matrix)


def from_vtk(matrix: Any) -> Matrix:
    """Return VTK's 4x4 matrix as an array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def to_vtk(matrix: Matrix) -> Any:
    """Return an array as VTK's 4x4 matrix."""
    made = vtk.vtkMatrix4x4()
    made.DeepCopy(np.asarray(matrix, dtype=np.float64).ravel().tolist())
    return made


def read_volume(volume: Node, role: str) -> tuple[Array, Geometry]:
    """Return a volume's voxels, not copied, ``(k, j, i)``, and where they are in the world, parents included.

    Raises:
        ValueError: it has no voxels, several components, or axes that ITK cannot express.
    """
    image = volume.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or min(image.GetDimensions()) < 1:
        raise ValueError(f"{role}: '{volume.GetName()}' has no voxels; choose another volume.")
    components = image.GetNumberOfScalarComponents()
    if components != 1:
        raise ValueError(
            f"{role}: '{volume.GetName()}' has {components} numbers per voxel, as a colour image; "
            "choose a scalar volume, for example made by the module Vector to Scalar Volume."
        )
    own = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(own)
    geometry = Geometry.of_ras(image.GetDimensions(), world_matrix(volume, role) @ from_vtk(own))
    geometry.check(role)
    return voxels_of(image), geometry


def voxels_of(image: Any) -> Array:
    """Return the voxels of VTK's image, not copied: ``(k, j, i)``, or ``(k, j, i, components)`` where several."""
    scalars = image.GetPointData().GetScalars()
    components = scalars.GetNumberOfComponents()
    shape = (*image.GetDimensions()[::-1], *([components] if components > 1 else []))
    return numpy_support.vtk_to_numpy(scalars).reshape(shape)


def read_segments(segmentation: Node, values: dict[str, int], role: str) -> tuple[Array, Geometry]:
    """Merge segments into a label map, the later over the earlier.

    Args:
        segmentation: node with a binary label map representation.
        values: label of each wanted segment, by its identifier.
        role: what it is for, in messages.

    Raises:
        ValueError: there is nothing to merge.
    """
    binary = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    name, content = segmentation.GetName(), segmentation.GetSegmentation()
    if not values:
        raise ValueError(f"{role}: the segmentation '{name}' has no segment; draw one, or choose another.")
    if not content.ContainsRepresentation(binary):
        raise ValueError(f"{role}: '{name}' has no binary label map; create it in the module Segmentations.")
    identifiers, labels = vtk.vtkStringArray(), vtk.vtkIntArray()
    for identifier, label in values.items():
        identifiers.InsertNextValue(identifier)
        labels.InsertNextValue(label)
    merged = slicer.vtkOrientedImageData()
    extent = slicer.vtkSegmentation.EXTENT_UNION_OF_EFFECTIVE_SEGMENTS
    segmentation.GenerateMergedLabelmapForAllSegments(merged, extent, None, identifiers, labels)
    if min(merged.GetDimensions()) < 1 or merged.GetPointData().GetScalars() is None:
        raise ValueError(f"{role}: the segments of '{name}' are empty; draw them, or choose another.")
    own = vtk.vtkMatrix4x4()
    merged.GetImageToWorldMatrix(own)
    first = np.eye(4)
    first[:3, 3] = merged.GetExtent()[::2]
    geometry = Geometry.of_ras(merged.GetDimensions(), world_matrix(segmentation, role) @ from_vtk(own) @ first)
    geometry.check(role)
    return voxels_of(merged), geometry


def segment_names(segmentation: Node) -> dict[str, str]:
    """Return the names of the segments by their identifiers, in order."""
    content = segmentation.GetSegmentation()
    identifiers = [content.GetNthSegmentID(number) for number in range(content.GetNumberOfSegments())]
    return {identifier: content.GetSegment(identifier).GetName() for identifier in identifiers}


def read_points(markups: Node) -> list[list[float]]:
    """Return the placed control points in the world (LPS mm)."""
    points = []
    for number in range(markups.GetNumberOfControlPoints()):
        if markups.GetNthControlPointPositionStatus(number) == slicer.vtkMRMLMarkupsNode.PositionDefined:
            r, a, s = markups.GetNthControlPointPositionWorld(number)
            points.append([-r, -a, s])
    return points


def read_start(transform: Node) -> list[list[float]]:
    """Return the map from fixed to moving points (LPS mm) of a transform that brings moving near fixed.

    Raises:
        ValueError: it is not linear, or not invertible.
    """
    to_fixed = _to_world(transform, "start: it is")
    if abs(np.linalg.det(to_fixed)) < 1e-9:
        raise ValueError(f"start: '{transform.GetName()}' maps the volume onto a plane; choose another transform.")
    return (_FLIP @ np.linalg.inv(to_fixed) @ _FLIP).tolist()


def is_above(transform: Node, node: Node) -> bool:
    """Whether ``node`` is under ``transform``, at whatever distance."""
    parent = node.GetParentTransformNode()
    while parent is not None:
        if parent is transform:
            return True
        parent = parent.GetParentTransformNode()
    return False


def empty_image(shape: Sequence[int], dtype: np.dtype[Any]) -> tuple[Any, Array]:
    """Return VTK's image for an array ``(k, j, i)`` or ``(k, j, i, components)``, and the array it holds, not yet set.

    The memory is VTK's own, so that the array may be filled elsewhere and nothing need be copied afterwards.

    Raises:
        ValueError: VTK has no such type of number.
    """
    image = vtk.vtkImageData()
    image.SetDimensions(*shape[2::-1])
    image.AllocateScalars(numpy_support.get_vtk_array_type(dtype), shape[3] if len(shape) > 3 else 1)
    return image, voxels_of(image)


def turn_vectors(field: Array) -> None:
    """Turn vectors ``(k, j, i, 3)`` from LPS to RAS, in place."""
    np.negative(field[..., :2], out=field[..., :2])


def linear_transform(rows: Sequence[Sequence[float]]) -> Node:
    """Return a transform node, not in the scene, for a map of points (LPS mm)."""
    node = slicer.vtkMRMLLinearTransformNode()
    from_parent = _FLIP @ np.asarray(rows, dtype=np.float64) @ _FLIP
    node.SetMatrixTransformToParent(to_vtk(np.asarray(np.linalg.inv(from_parent))))
    return node


def grid_transform(image: Any, geometry: Geometry) -> Node:
    """Return a transform node, not in the scene, for a displacement field.

    Between voxels it is cubic, as Slicer makes it when it reads one from a file; beyond the field the vectors of its
    border go on, where ITK has none.

    Args:
        image: VTK's image of RAS vectors (mm), see `turn_vectors`; its geometry is set.
        geometry: of the field.
    """
    matrix = geometry.ijk_to_ras
    direction = np.eye(4)
    direction[:3, :3] = matrix[:3, :3] / geometry.spacing
    image.SetOrigin(*matrix[:3, 3])
    image.SetSpacing(*geometry.spacing)
    grid = slicer.vtkOrientedGridTransform()
    grid.SetGridDirectionMatrix(to_vtk(direction))
    grid.SetDisplacementGridData(image)
    grid.SetInterpolationModeToCubic()
    node = slicer.vtkMRMLGridTransformNode()
    node.SetAndObserveTransformFromParent(grid)
    return node


def set_voxels(volume: Node, image: Any, geometry: Geometry) -> None:
    """Give a volume its voxels and its place in the world."""
    volume.SetIJKToRASMatrix(to_vtk(geometry.ijk_to_ras))
    volume.SetAndObserveImageData(image)
