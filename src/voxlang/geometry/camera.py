"""Pinhole cameras in the OpenCV frame: +x right, +y down, +z forward."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from voxlang.core.digest import digest_json
from voxlang.core.errors import GeometryError


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera: ``p_world = T_world_camera @ p_camera`` and ``pixel = K @ p_camera / z``.

    Pixels are (u right, v down); the centre of the top-left pixel is (0.5, 0.5). Images are ``[v, u]``.
    """

    K: Float[np.ndarray, "3 3"]
    """Intrinsics in pixels."""
    T_world_camera: Float[np.ndarray, "4 4"]
    """Camera to world, rotation orthonormal with determinant +1."""
    width: int
    """Picture width in pixels."""
    height: int
    """Picture height in pixels."""
    up_world: tuple[float, float, float] = (0.0, 0.0, 1.0)
    """The up direction the camera was made with, recorded for the reader of a view."""
    near_depth: float = 0.0
    """World depth along the viewing axis before which nothing is seen: a plane that cuts open what it looks at."""

    def __post_init__(self) -> None:
        rotation = self.T_world_camera[:3, :3]
        orthonormal = np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-6)
        if not orthonormal or np.linalg.det(rotation) < 0:
            raise GeometryError(
                "a rotation with determinant +1 in T_world_camera",
                got=f"{rotation.tolist()} (determinant {np.linalg.det(rotation):.4f})",
                where="Camera",
                do="build the camera with look_at",
            )
        if self.width < 1 or self.height < 1:
            raise GeometryError(
                "a picture of at least 1x1 pixels",
                got=f"width={self.width}, height={self.height}",
                where="Camera",
                do="pass a positive resolution",
            )
        if not 0.0 <= self.near_depth < np.inf:
            raise GeometryError(
                "a near_depth of 0 or more",
                got=f"{self.near_depth}",
                where="Camera",
                do="pass the depth of the clipping plane in front of the camera",
            )

    @property
    def position_world(self) -> Float[np.ndarray, 3]:
        """World position of the centre of projection."""
        return self.T_world_camera[:3, 3]

    @property
    def forward_world(self) -> Float[np.ndarray, 3]:
        """Unit viewing direction in the world."""
        return self.T_world_camera[:3, 2]

    @property
    def T_camera_world(self) -> Float[np.ndarray, "4 4"]:
        """World to camera."""
        return np.linalg.inv(self.T_world_camera)

    def scaled(self, width: int, height: int) -> Camera:
        """The same camera with another picture size (same field of view for the same aspect)."""
        scale = np.diag([width / self.width, height / self.height, 1.0])
        return replace(self, K=scale @ self.K, width=width, height=height)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able description."""
        return {
            "K": self.K.tolist(),
            "T_world_camera": self.T_world_camera.tolist(),
            "width": self.width,
            "height": self.height,
            "up_world": list(self.up_world),
            "near_depth": self.near_depth,
        }

    @staticmethod
    def from_dict(value: dict[str, Any]) -> Camera:
        """Inverse of `as_dict`."""
        return Camera(
            np.asarray(value["K"], dtype=np.float64),
            np.asarray(value["T_world_camera"], dtype=np.float64),
            int(value["width"]),
            int(value["height"]),
            tuple(value["up_world"]),
            float(value.get("near_depth", 0.0)),
        )

    @property
    def digest(self) -> str:
        """Content digest of everything that decides the picture's geometry."""
        return digest_json(self.as_dict())


def look_at(
    position_world: Float[np.ndarray, 3],
    target_world: Float[np.ndarray, 3],
    *,
    up_world: tuple[float, float, float],
    fov_y_deg: float,
    width: int,
    height: int,
) -> Camera:
    """Camera at a position that looks at a target, with the picture's up as near to `up_world` as it can be.

    Args:
        position_world: centre of projection.
        target_world: the point that lands in the middle of the picture.
        up_world: direction that points up in the picture; may be parallel to the view, then another axis is taken.
        fov_y_deg: vertical field of view in degrees, in (0, 180).
        width: pixels.
        height: pixels.
    """
    forward = np.asarray(target_world, dtype=np.float64) - np.asarray(position_world, dtype=np.float64)
    norm = np.linalg.norm(forward)
    if norm < 1e-12 or not 0.0 < fov_y_deg < 180.0:
        raise GeometryError(
            "a target away from the camera and a field of view in (0, 180) degrees",
            got=f"distance {norm:.3g}, fov_y_deg={fov_y_deg}",
            where="look_at",
            do="move the camera or change the field of view",
        )
    forward /= norm
    up = np.asarray(up_world, dtype=np.float64)
    right = np.cross(forward, up)
    if np.linalg.norm(right) < 1e-6 * np.linalg.norm(up):
        fallback = np.eye(3)[int(np.argmin(np.abs(forward)))]
        right = np.cross(forward, fallback)
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = right, down, forward, position_world
    focal = height / 2.0 / np.tan(np.radians(fov_y_deg) / 2.0)
    intrinsics = np.array([[focal, 0.0, width / 2.0], [0.0, focal, height / 2.0], [0.0, 0.0, 1.0]])
    return Camera(intrinsics, pose, width, height, tuple(float(v) for v in up))


def rays_world(camera: Camera) -> tuple[Float[np.ndarray, 3], Float[np.ndarray, "h w 3"]]:
    """Origin and unit directions of the rays through all pixel centres, in the world."""
    u = np.arange(camera.width) + 0.5
    v = np.arange(camera.height) + 0.5
    pixels = np.stack(np.broadcast_arrays(u[None, :], v[:, None], np.ones((1, 1))), axis=-1)
    directions = pixels @ np.linalg.inv(camera.K).T @ camera.T_world_camera[:3, :3].T
    return camera.position_world, directions / np.linalg.norm(directions, axis=-1, keepdims=True)


def project(
    camera: Camera, points_world: Float[np.ndarray, "n 3"]
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n"]]:
    """Pixel coordinates (u, v) and depth along the viewing axis of world points; depth <= 0 is behind the camera."""
    inverse = camera.T_camera_world
    points = points_world @ inverse[:3, :3].T + inverse[:3, 3]
    depth = points[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        uv = (points @ camera.K.T)[:, :2] / depth[:, None]
    return uv, depth
