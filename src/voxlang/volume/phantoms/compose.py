"""From a scene to voxels: shapes become coverage with a soft edge of one voxel, strokes are laid over one another."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt16

from voxlang.geometry.grid import VolumeGrid
from voxlang.volume.phantoms.language import Shape
from voxlang.volume.phantoms.scene import Field, Material, Scene

Region = tuple[slice, slice, slice]


def compose(
    scene: Scene, grid: VolumeGrid, *, seed: int
) -> tuple[Float32[np.ndarray, "z y x"], UInt16[np.ndarray, "z y x"]]:
    """Lay the strokes on a grid in painter's order.

    Each stroke covers a voxel by c = clip(1/2 - d / h, 0, 1) with the signed distance d of its centre and the mean
    spacing h; density becomes (1 - c) density + c material, and where c >= 1/2 the voxel takes the stroke's part.
    A field sets the density of every voxel, and the parts by its levels.

    Args:
        scene: parts and strokes in the object frame.
        grid: any size and spacing; the object stands where `scene.pose` puts it in the world.
        seed: of textures and acquisition noise; textures are functions of the world, so they keep at other grids.

    Returns:
        (native density with bias and noise, clipped to the scene's range; deepest part ids).
    """
    canvas = _Canvas(scene, grid, seed)
    for stroke in scene.strokes:
        if isinstance(stroke, Field):
            canvas.pour(stroke)
            continue
        region, coverage = canvas.coverage(stroke.shape)
        if coverage is None:
            continue
        labels = canvas.labels[region]
        if stroke.keep:
            coverage[np.isin(labels, stroke.keep)] = 0
        if stroke.inside:
            coverage[~np.isin(labels, stroke.inside)] = 0
        if stroke.material is not None:
            density = canvas.density[region]
            density += coverage * (canvas.filling(stroke.material, region) - density)
        labels[coverage >= 0.5] = stroke.part
    density = canvas.density
    rng = np.random.default_rng([seed, 2])
    if scene.bias > 0:
        extent = float(max(grid.extent_world))
        density = density * (1 + scene.bias * canvas.noise(extent * 1.2, [seed, 3], (slice(None),) * 3))
    density = density + rng.normal(0, scene.noise, density.shape).astype(np.float32)
    return np.clip(density, *scene.native_range).astype(np.float32), canvas.labels


class _Canvas:
    """The arrays being painted, and the way from their indices to the object frame."""

    def __init__(self, scene: Scene, grid: VolumeGrid, seed: int) -> None:
        self.grid, self.seed = grid, seed
        self.object_from_index = np.linalg.inv(scene.pose) @ grid.world_from_index
        self.index_from_object = np.linalg.inv(self.object_from_index)
        scale = float(np.cbrt(np.linalg.det(scene.pose[:3, :3])))
        self.edge = float(np.mean(grid.spacing_xyz)) / scale
        self.density = np.full(grid.shape_zyx, scene.air.value, np.float32)
        self.labels = np.zeros(grid.shape_zyx, np.uint16)

    def _region(self, low: np.ndarray, high: np.ndarray) -> Region | None:
        """Voxels whose centres may lie within a box of the object frame plus half an edge; None if outside."""
        m = self.index_from_object
        centre, half = (low + high) / 2, (high - low) / 2 + self.edge
        c, h = m[:3, :3] @ centre + m[:3, 3], np.abs(m[:3, :3]) @ half
        first = np.maximum(np.ceil(c - h), 0).astype(int)
        last = np.minimum(np.floor(c + h), np.asarray(self.grid.size_xyz) - 1).astype(int)
        if (first > last).any():
            return None
        return tuple(slice(int(a), int(b) + 1) for a, b in zip(first[::-1], last[::-1], strict=True))

    def _points(self, region: Region) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Object coordinates of a region's voxel centres, three [z y x] float32 arrays."""
        iz, iy, ix = (np.arange(s.start, s.stop, dtype=np.float32) for s in region)
        m = self.object_from_index.astype(np.float32)
        along_x = m[:3, 0, None] * ix
        plane = m[:3, 1, None, None] * iy[None, :, None] + along_x[:, None, :] + m[:3, 3, None, None]
        block = m[:3, 2, None, None, None] * iz[None, :, None, None] + plane[:, None]
        return block[0], block[1], block[2]

    def coverage(self, shape: Shape) -> tuple[Region, np.ndarray | None]:
        """Coverage in [0, 1] over the region of a shape's box; None when the grid holds nothing of it."""
        region = self._region(*shape.box)
        if region is None:
            return (slice(0),) * 3, None
        if len(shape.solids) == 1:
            return region, self._covered(shape.solids[0].distance(*self._points(region)))
        total = np.zeros([s.stop - s.start for s in region], np.float32)
        for solid in shape.solids:
            part = self._region(solid.low, solid.high)
            if part is not None:
                local = tuple(slice(p.start - r.start, p.stop - r.start) for p, r in zip(part, region, strict=True))
                view = total[local]
                np.maximum(view, self._covered(solid.distance(*self._points(part))), out=view)
        return region, total

    def _covered(self, distance: np.ndarray) -> np.ndarray:
        return np.clip(np.float32(0.5) - distance * np.float32(1.0 / self.edge), 0, 1).astype(np.float32)

    def pour(self, field: Field) -> None:
        """Set every voxel to a field's value at its centre, and to the part of the highest level that it reaches."""
        values = field.values(*self._points(tuple(slice(0, n) for n in self.grid.shape_zyx)))
        self.density[...] = values
        for level, part in field.levels:
            self.labels[values >= level] = part

    def filling(self, material: Material, region: Region) -> np.ndarray | float:
        """Native values of a material over a region: its mean, plus its texture."""
        if material.texture <= 0:
            return float(material.value)
        key = [self.seed, 1, *material.name.encode()]
        return float(material.value) + float(material.texture) * self.noise(float(material.grain), key, region)

    def noise(self, wavelength: float, key: list[int], region: Region) -> np.ndarray:
        """Smooth noise of the world, zero mean and unit deviation: a sum of plane waves.

        sin(a + b) = sin a cos b + cos a sin b splits a wave into a plane part and a z part: the sum over waves is
        one matrix product.
        """
        n = 24
        rng = np.random.default_rng(key)
        direction = rng.normal(size=(n, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        k = direction * (2 * np.pi / (wavelength * rng.uniform(0.6, 1.8, (n, 1))))
        phase = rng.uniform(0, 2 * np.pi, n) + k @ self.grid.world_from_index[:3, 3]
        k = k @ self.grid.world_from_index[:3, :3]
        iz, iy, ix = (np.arange(*s.indices(size)) for s, size in zip(region, self.grid.shape_zyx, strict=True))
        plane = (k[:, 1, None, None] * iy[:, None] + k[:, 0, None, None] * ix + phase[:, None, None]).reshape(n, -1)
        deep = k[:, 2] * iz[:, None]
        left = np.concatenate([np.cos(deep), np.sin(deep)], axis=1).astype(np.float32)
        right = np.concatenate([np.sin(plane), np.cos(plane)], axis=0).astype(np.float32)
        return (left @ right).reshape(len(iz), len(iy), len(ix)) * np.float32(np.sqrt(2.0 / n))


def grid_for(
    box_mm: tuple[float, float, float],
    default_size: tuple[int, int, int],
    *,
    size_xyz: tuple[int, int, int] | None,
    spacing_xyz: tuple[float, float, float] | None,
) -> VolumeGrid:
    """Grid centred on the object's frame.

    Args:
        box_mm: edges of the space that the family needs.
        default_size: voxels when neither size nor spacing is given.
        size_xyz: voxels; without a spacing they share out the whole box.
        spacing_xyz: mm; without a size there are as many voxels as fill the box.
    """
    edges = np.asarray(box_mm, np.float64)
    if size_xyz is None:
        size_xyz = (
            default_size if spacing_xyz is None else tuple(int(v) for v in np.ceil(edges / np.asarray(spacing_xyz)))
        )
    if spacing_xyz is None:
        spacing_xyz = tuple((edges / np.asarray(size_xyz, np.float64)).tolist())
    origin = -(np.asarray(size_xyz) - 1) / 2 * np.asarray(spacing_xyz)
    return VolumeGrid(tuple(size_xyz), tuple(spacing_xyz), tuple(origin.tolist()))
