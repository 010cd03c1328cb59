"""Trees of vessels: how thick the branches are, where they start and how far they reach."""

import numpy as np

from voxlang.volume.phantoms.branching import branches


def test_branches_start_at_the_root_and_fan_out_along_the_direction():
    root = np.array([5.0, -3.0, 2.0])
    tree = branches(np.random.default_rng(0), root, np.array([0.0, 0.0, 2.0]), radius=6.0, reach=80, stems=4)
    boxes = [shape.box for shape in tree]
    assert sum(bool((low <= root).all() and (root <= high).all()) for low, high in boxes) >= 4
    tops = np.array([high for _, high in boxes])
    assert 40 < tops[:, 2].max() < 130
    centres = np.array([(low + high) / 2 for low, high in boxes])
    assert (centres[:, 2] > root[2]).mean() > 0.9
    assert len(branches(np.random.default_rng(0), root, np.array([0.0, 0.0, 2.0]), radius=6.0, reach=80, stems=8)) > 8


def test_children_of_a_branch_carry_its_cubed_radius():
    start = np.zeros(3)
    one = branches(np.random.default_rng(1), start, np.array([1.0, 0, 0]), radius=2.0, reach=30, stems=1, thinnest=1.99)
    assert len(one) == 3, "a stem and its two children"
    radii = [shape.solids[0].distance.args[2] for shape in one]
    assert radii[0] == 2.0
    assert np.isclose(radii[1] ** 3 + radii[2] ** 3, 2.0**3)
