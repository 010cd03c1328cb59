"""The same picture by VTK's fixed-point ray caster: the independent renderer beside ours."""

from __future__ import annotations

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from voxlang.geometry.camera import Camera
from voxlang.geometry.grid import VolumeGrid
from voxlang.render.settings import RenderSettings
from voxlang.render.transfer import TransferFunction


class VtkRenderer:
    """A volume in VTK, rendered by vtkFixedPointVolumeRayCastMapper without a display."""

    def __init__(self, values: np.ndarray, grid: VolumeGrid, transfer: TransferFunction, settings: RenderSettings):
        image = vtk.vtkImageData()
        image.SetDimensions(*grid.size_xyz)
        image.SetSpacing(*grid.spacing_xyz)
        scalars = np.round(np.ascontiguousarray(values).reshape(-1) * 32767.0).astype(np.uint16)
        self._array = numpy_to_vtk(scalars, deep=True)
        image.GetPointData().SetScalars(self._array)
        opacity, color = vtk.vtkPiecewiseFunction(), vtk.vtkColorTransferFunction()
        for x in np.linspace(0.0, 1.0, 1025):
            opacity.AddPoint(x * 32767.0, float(transfer.alpha(np.array([x]))[0]))
            color.AddRGBPoint(x * 32767.0, *transfer.color(np.array([x]))[0].tolist())
        look = vtk.vtkVolumeProperty()
        look.SetScalarOpacity(opacity)
        look.SetColor(color)
        look.SetScalarOpacityUnitDistance(transfer.unit_distance)
        look.SetInterpolationTypeToLinear()
        look.SetShade(settings.shading)
        look.SetAmbient(settings.ambient)
        look.SetDiffuse(settings.diffuse)
        look.SetSpecular(settings.specular)
        look.SetSpecularPower(settings.specular_power)
        mapper = vtk.vtkFixedPointVolumeRayCastMapper()
        mapper.SetInputData(image)
        mapper.SetAutoAdjustSampleDistances(False)
        mapper.SetLockSampleDistanceToInputSpacing(False)
        mapper.SetImageSampleDistance(1.0)
        mapper.SetSampleDistance(settings.step_voxels * min(grid.spacing_xyz))
        mapper.SetInteractiveSampleDistance(settings.step_voxels * min(grid.spacing_xyz))
        pose = np.eye(4)
        pose[:3, :3] = np.asarray(grid.direction)
        pose[:3, 3] = grid.origin_xyz
        matrix = vtk.vtkMatrix4x4()
        matrix.DeepCopy(pose.reshape(-1).tolist())
        actor = vtk.vtkVolume()
        actor.SetMapper(mapper)
        actor.SetProperty(look)
        actor.SetUserMatrix(matrix)
        self._mapper = mapper
        self._renderer = vtk.vtkRenderer()
        self._renderer.SetBackground(*settings.background)
        light = vtk.vtkLight()
        light.SetLightTypeToHeadlight()
        light.SetAmbientColor(1.0, 1.0, 1.0)
        self._renderer.AddLight(light)
        self._renderer.AddVolume(actor)
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(True)
        self._window.SetMultiSamples(0)
        self._window.AddRenderer(self._renderer)

    def render(self, camera: Camera) -> np.ndarray:
        """RGB [h w 3] in [0, 1] of a camera whose principal point is the middle of the picture."""
        self._window.SetSize(camera.width, camera.height)
        eye = self._renderer.GetActiveCamera()
        eye.SetPosition(*camera.position_world)
        eye.SetFocalPoint(*(camera.position_world + camera.forward_world))
        eye.SetViewUp(*(-camera.T_world_camera[:3, 1]))
        eye.SetViewAngle(float(np.degrees(2.0 * np.arctan(camera.height / 2.0 / camera.K[1, 1]))))
        self._renderer.ResetCameraClippingRange()
        self._mapper.Modified()
        self._window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self._window)
        grab.SetShouldRerender(False)
        grab.ReadFrontBufferOff()
        grab.Update()
        pixels = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars())
        rgb = pixels.reshape(camera.height, camera.width, 3)[::-1]
        return rgb.astype(np.float32) / 255.0
