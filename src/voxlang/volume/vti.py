"""VTK image data (.vti), through VTK where it is installed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from voxlang.core.errors import VolumeError
from voxlang.volume.native import NativeVolume, check_memory, check_size, make_grid


def read_vti(path: Path, *, spacing_xyz: tuple[float, float, float] | None = None) -> NativeVolume:
    """Read the active scalars of the points of a .vti file; its world is taken over as it is.

    Raises:
        VolumeError: VTK missing, unreadable file, no scalars on the points, vectors, 2D, no memory for it.
    """
    where = str(path)
    try:
        from vtkmodules.util.numpy_support import vtk_to_numpy
        from vtkmodules.vtkIOXML import vtkXMLImageDataReader
    except ImportError as error:
        raise VolumeError(
            "VTK for .vti files", got=f"no VTK ({error})", where=where, do="pip install vtk, or save as NRRD"
        ) from error
    messages: list[str] = []
    reader = vtkXMLImageDataReader()

    def note(_caller: object, _event: str, text: str | None = None) -> None:
        reason = re.sub(r"^.*\(0x[0-9a-f]+\): ", "", " ".join((text or "unreadable XML").split()))
        messages.append(reason.rstrip(". "))

    note.CallDataType = "string0"
    reader.AddObserver("ErrorEvent", note)
    reader.SetFileName(str(path))
    reader.UpdateInformation()
    if messages:
        raise _unreadable(where, messages[0])
    extent = reader.GetOutputInformation(0).Get(reader.GetExecutive().WHOLE_EXTENT())
    size = check_size([extent[2 * a + 1] - extent[2 * a] + 1 for a in range(3)], where=where)
    check_memory(size, itemsize=8, copies=2, where=where)
    reader.Update()
    image = reader.GetOutput()
    scalars = image.GetPointData().GetScalars() or image.GetPointData().GetArray(0)
    if messages or scalars is None:
        raise _unreadable(where, messages[0] if messages else "no scalars on the points")
    check_size(size, where=where, components=scalars.GetNumberOfComponents())
    matrix = image.GetDirectionMatrix()
    direction = [[matrix.GetElement(r, c) for c in range(3)] for r in range(3)]
    origin = [0.0, 0.0, 0.0]
    image.TransformIndexToPhysicalPoint(extent[0], extent[2], extent[4], origin)
    grid = make_grid(size, spacing_xyz or image.GetSpacing(), origin, direction, unit="mm", where=where)
    values = np.array(vtk_to_numpy(scalars)).reshape(grid.shape_zyx)
    return NativeVolume(values, grid, path.stem)


def _unreadable(where: str, got: str) -> VolumeError:
    return VolumeError(
        "a .vti file with scalars on its points", got=got, where=where, do="check the file, or convert cells to points"
    )
