"""Coordinates: grids, cameras, rays and orbits. The only place where an axis is flipped.

See docs/conventions.md: arrays are ``[z, y, x]``, points are ``(x, y, z)``.
"""
