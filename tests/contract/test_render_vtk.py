"""The renderer beside VTK's fixed-point ray caster on a non-cubic, asymmetric, anisotropic volume."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from benchmarks.vtk_peer import VtkRenderer
from voxlang.geometry.grid import VolumeGrid
from voxlang.geometry.orbits import orbit_camera
from voxlang.render.render import prepare
from voxlang.render.settings import RenderSettings
from voxlang.render.transfer import TransferFunction

DIRECTIONS = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1), (1.0, 0.6, 0.4)]
TRANSFER = TransferFunction(
    np.array([[0, 0.1, 0.2, 0.9], [0.3, 0.9, 0.3, 0.2], [0.6, 0.2, 0.8, 0.3], [1, 1, 1, 0.95]]),
    np.array([[0, 0.0], [0.15, 0], [0.3, 0.4], [1, 0.8]]),
    1.0,
)


def asymmetric_volume():
    rng = np.random.default_rng(0)
    values = gaussian_filter(rng.random((34, 46, 61)), 3)
    values = (values - values.min()) / np.ptp(values)
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in values.shape], indexing="ij")
    envelope = np.clip(1.6 - 1.5 * np.sqrt(x**2 + y**2 + z**2) + 0.3 * x - 0.2 * y * z, 0, 1)
    values = (values * envelope).astype(np.float32)
    return values / values.max()


def grids():
    c, s = np.cos(0.5), np.sin(0.5)
    straight = VolumeGrid((61, 46, 34), (1.0, 1.5, 2.2), (5.0, -3.0, 8.0))
    turned = VolumeGrid((61, 46, 34), (1.0, 1.5, 2.2), (5.0, -3.0, 8.0), ((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, 1.0)))
    return {"straight": straight, "turned": turned}


@pytest.mark.parametrize("grid_name", ["straight", "turned"])
@pytest.mark.parametrize(("shading", "brightness"), [(False, 0.02), (True, 0.035)])
def test_every_direction_agrees_with_vtk(grid_name, shading, brightness):
    values, grid = asymmetric_volume(), grids()[grid_name]
    settings = RenderSettings(
        backend="numba",
        shading=shading,
        gradient_floor=0.0,
        stop_opacity=1.0,
        light_direction_camera=(0.0, 0.0, -1.0),
    )
    peer, ours = VtkRenderer(values, grid, TRANSFER, settings), prepare(values, grid)
    for direction in DIRECTIONS:
        camera = orbit_camera(grid, np.array(direction, float), width=160, height=120, fit="box")
        theirs = peer.render(camera)
        rgb = ours.render(TRANSFER, camera, settings).rgb
        assert theirs.mean() > 0.05
        assert abs(rgb.mean() / theirs.mean() - 1.0) < brightness, direction
        assert np.corrcoef(rgb.ravel(), theirs.ravel())[0, 1] > 0.99, direction
        assert np.abs(rgb - theirs).mean() < 0.006, direction
        mirrored = np.corrcoef(rgb[:, ::-1].ravel(), theirs.ravel())[0, 1]
        assert mirrored < 0.98, direction
