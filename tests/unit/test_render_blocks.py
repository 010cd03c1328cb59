"""Block ranges and leap distances against brute force."""

import numpy as np

from voxlang.render.blocks import block_ranges, leap_map


def test_ranges_cover_the_cells_of_a_block_with_their_far_border(rng):
    values = rng.random((17, 9, 26)).astype(np.float32)
    low, high = block_ranges(values)
    assert low.shape == (3, 2, 4)
    for z in range(3):
        for y in range(2):
            for x in range(4):
                block = values[8 * z : 8 * z + 9, 8 * y : 8 * y + 9, 8 * x : 8 * x + 9]
                assert low[z, y, x] == block.min() and high[z, y, x] == block.max()


def test_the_leap_is_the_chessboard_distance_to_something_visible(rng):
    low = np.zeros((5, 6, 7), np.float32)
    high = np.zeros((5, 6, 7), np.float32)
    high[1, 4, 2] = high[4, 0, 6] = 1.0
    table = np.zeros((64, 4), np.float32)
    table[40:50, 3] = 2.0
    leap = leap_map(low, high, table)
    for place in np.ndindex(leap.shape):
        expected = min(np.abs(np.subtract(place, p)).max() for p in ((1, 4, 2), (4, 0, 6)))
        assert leap[place] == expected


def test_a_visible_band_between_low_and_high_counts_and_one_beside_them_does_not():
    table = np.zeros((101, 4), np.float32)
    table[50, 3] = 1.0
    one = lambda a, b: leap_map(np.full((1, 1, 1), a, np.float32), np.full((1, 1, 1), b, np.float32), table)[0, 0, 0]
    assert one(0.2, 0.8) == 0
    assert one(0.494, 0.497) == 0  # nearest-entry lookup may round up to the band
    assert one(0.0, 0.48) == 255
    assert one(0.52, 1.0) == 255
