"""Phantoms: every family's tree, truth, bands and geometry; the numbers are recomputed from labels and values alone."""

import itertools
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from voxlang.core.errors import VolumeError
from voxlang.core.levels import Level
from voxlang.volume.phantoms import FAMILIES, MaterialLook, Phantom, make_phantom

SIZES = {
    "bonsai": (58, 50, 60),
    "head": (60, 72, 78),
    "torso": (66, 46, 80),
    "head_mri": (60, 72, 78),
    "chest": (96, 72, 90),
    "fish": (58, 174, 84),
    "hand": (75, 54, 114),
    "tooth": (48, 42, 76),
    "engine": (72, 52, 62),
    "lobster": (60, 100, 38),
    "fruit": (60, 60, 70),
    "flame": (48, 48, 75),
    "bottle": (58, 58, 132),
    "bolt": (56, 56, 84),
    "circuit": (128, 110, 40),
    "shell": (70, 70, 70),
    "skull": (80, 98, 102),
}
CASES = [(family, seed) for family in FAMILIES for seed in (1, 2)]
cases = pytest.mark.parametrize(("family", "seed"), CASES, ids=[f"{f}-{s}" for f, s in CASES])


@cache
def phantom(family: str, seed: int) -> Phantom:
    return make_phantom(family, seed, size_xyz=SIZES.get(family, (64, 60, 56)))


def region(p: Phantom, name: str) -> np.ndarray:
    return p.labels.mask_of(p.labels.tree.named(name).id)


def centre_world(p: Phantom, name: str) -> np.ndarray:
    """World centroid (x, y, z) by a plain average over voxel indices."""
    iz, iy, ix = np.nonzero(region(p, name))
    g = p.volume.grid
    return np.array(g.origin_xyz) + np.array(g.spacing_xyz) * [ix.mean(), iy.mean(), iz.mean()]


@cases
def test_labels_values_and_grid_belong_together(family, seed):
    p = phantom(family, seed)
    assert p.family == family and p.seed == seed
    assert p.volume.values.shape == p.labels.labels.shape == p.volume.grid.shape_zyx
    assert p.volume.values.min() >= 0 and p.volume.values.max() <= 1
    assert set(np.unique(p.labels.labels)) - {0} <= {part.id for part in p.labels.tree}
    assert 0.005 < (p.labels.labels > 0).mean() < 0.75


@cases
def test_every_part_is_there(family, seed):
    p = phantom(family, seed)
    sizes = {part.name: int(p.labels.mask_of(part.id).sum()) for part in p.labels.tree}
    assert {n: s for n, s in sizes.items() if s < 4} == {}


@cases
def test_tree_spans_three_levels_with_rich_names(family, seed):
    tree = phantom(family, seed).labels.tree
    assert {p.level for p in tree} == set(Level)
    assert len({p.name for p in tree}) == len(tree)
    for part in tree:
        assert part.name == part.name.lower()
        assert 1 <= len(part.synonyms) <= 6 and part.name not in part.synonyms
        assert part.level == Level.WHOLE or part.parent is not None


@cases
def test_prompts_name_parts_of_more_than_one_level(family, seed):
    p = phantom(family, seed)
    parts = [p.labels.tree.named(name) for name in p.demo_prompts]
    assert 4 <= len(parts) <= 8
    assert len({part.level for part in parts}) >= 2
    assert all(p.labels.mask_of(part.id).sum() > 8 for part in parts)


@cases
def test_appearances_are_disjoint_bands_that_show_something(family, seed):
    p = phantom(family, seed)
    assert len(p.appearances) >= 3
    assert p.appearances[0].name == "surface"
    assert len({a.name for a in p.appearances}) == len(p.appearances)
    for appearance in p.appearances:
        bands = appearance.materials
        assert all(a.value_high <= b.value_low + 1e-9 for a, b in itertools.pairwise(bands))
        shown = np.zeros(p.volume.values.shape, bool)
        for look in bands:
            shown |= (p.volume.values >= look.value_low) & (p.volume.values <= look.value_high) & (look.alpha > 0)
        assert shown.mean() > 0.0005
        air = np.median(p.volume.values[p.labels.labels == 0])
        assert not any(look.value_low <= air <= look.value_high for look in bands)


# part -> material whose band must hold the part's own voxels, away from its surface
BANDS = {
    "bonsai": {"pot": "ceramic", "soil": "soil", "trunk": "wood"},
    "head": {"left hemisphere": "brain", "mandible": "bone", "left eye": "eyeball", "upper teeth": "enamel"},
    "torso": {
        "liver": "liver",
        "heart": "heart muscle",
        "left kidney": "kidney",
        "aorta": "blood",
        "left lung": "lung",
    },
    "head_mri": {"white matter": "white matter", "cerebellum": "grey matter", "left eye": "eyeball"},
    "fish": {"left eye": "eyeball", "scales": "scale", "liver": "liver"},
    "chest": {"right ventricle": "venous blood", "descending aorta": "arterial blood", "left upper lobe": "lung"},
    "hand": {"muscles": "muscle", "ring finger": "skin"},
    "tooth": {"enamel": "enamel", "dentin": "dentin", "pulp chamber": "pulp"},
    "engine": {"housing": "aluminium", "oil pan": "aluminium", "flywheel": "steel"},
    "lobster": {"meat": "meat"},
    "fruit": {"core": "core", "segment 1": "flesh", "seeds": "seed"},
    "shell": {"body whorl": "shell", "nacre": "nacre", "siphuncle": "pyrite"},
    "circuit": {"board": "laminate", "chip 1": "plastic", "capacitor 1": "ceramic", "solder balls": "solder"},
    "flame": {"smoke": "smoke", "mantle": "mantle", "core": "core", "hot spots": "hot spot"},
    "bottle": {"body": "glass", "liquid": "liquid", "bottom": "glass"},
    "bolt": {"bolt head": "bolt metal", "shank": "bolt metal", "nut": "nut metal", "gasket": "plastic"},
    "skull": {"maxilla": "bone", "chin": "bone"},
}


@pytest.mark.parametrize("family", BANDS)
def test_a_part_has_the_density_of_its_material(family):
    p = make_phantom(family, 1)
    looks: dict[str, MaterialLook] = {m.name: m for a in p.appearances for m in a.materials if a.name != "surface"}
    for name, material in BANDS[family].items():
        own = p.labels.labels == p.labels.tree.named(name).id
        inner = ndimage.binary_erosion(own)
        mean = float(p.volume.values[inner if inner.sum() >= 5 else own].mean())
        assert looks[material].value_low <= mean <= looks[material].value_high, (name, mean, looks[material])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_is_the_same_and_another_differs(family):
    size = tuple(n // 2 for n in SIZES.get(family, (64, 60, 56)))
    a, b, c = (make_phantom(family, s, size_xyz=size) for s in (5, 5, 6))
    assert a.volume.digest == b.volume.digest
    assert np.array_equal(a.labels.labels, b.labels.labels) and a.appearances == b.appearances
    assert a.volume.digest != c.volume.digest
    assert (a.labels.labels != c.labels.labels).mean() > 0.002


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_bonsai_stands_upright_in_world_z(seed):
    p = make_phantom("bonsai", seed, size_xyz=(46, 40, 50))
    heights = [centre_world(p, name)[2] for name in ("pot feet", "pot", "trunk", "foliage")]
    assert heights == sorted(heights)
    assert centre_world(p, "soil")[2] < centre_world(p, "branches")[2]
    assert region(p, "pot").any(axis=(1, 2)).argmax() <= region(p, "soil").any(axis=(1, 2)).argmax()


def filled(mask: np.ndarray) -> np.ndarray:
    """Convex hull of a mask by half-spaces along many directions: an oracle that knows nothing of the shapes."""
    points = np.argwhere(mask).astype(np.float64)
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(200, 3))
    everything = np.indices(mask.shape).reshape(3, -1).T
    inside = np.ones(len(everything), bool)
    for n in normals:
        inside &= everything @ n <= (points @ n).max() + 1e-9
    return inside.reshape(mask.shape)


@pytest.mark.parametrize("seed", [1, 2])
def test_brain_lies_inside_the_skull_and_eyes_in_front(seed):
    p = phantom("head", seed)
    hull = filled(region(p, "skull"))
    for name in ("left hemisphere", "right hemisphere", "cerebellum"):
        assert (region(p, name) & ~hull).sum() == 0
    left, right, brain = (centre_world(p, n) for n in ("left eye", "right eye", "brain"))
    assert left[0] > right[0] and left[1] < brain[1]
    assert centre_world(p, "mandible")[2] < left[2] < brain[2] + 20


@pytest.mark.parametrize("seed", [1, 2])
def test_torso_has_its_organs_where_anatomy_has_them(seed):
    p = phantom("torso", seed)
    at = {
        n: centre_world(p, n) for n in ("liver", "spleen", "left kidney", "right kidney", "heart", "bladder", "spine")
    }
    assert at["liver"][0] < 0 < at["spleen"][0]
    assert at["left kidney"][0] > at["right kidney"][0]
    assert at["heart"][2] > at["liver"][2] > at["bladder"][2]
    assert at["spine"][1] > at["heart"][1]
    native = p.volume.native_values()
    assert p.volume.value_range == (-1000.0, 2500.0)
    assert np.median(native[p.labels.labels == 0]) < -950
    assert native[ndimage.binary_erosion(region(p, "lungs"))].mean() < -600
    assert native[region(p, "bones")].mean() > 350


def test_mri_of_the_head_has_dark_bone_and_two_contrasts():
    fluid_is_bright = set()
    for seed in range(6):
        p = make_phantom("head_mri", seed, size_xyz=(60, 72, 78))
        native = p.volume.native_values()
        white, eye, bone, muscle, fat = (
            float(np.median(native[ndimage.binary_erosion(region(p, n))]))
            for n in ("white matter", "left eye", "mandible", "muscles", "fat")
        )
        assert bone < muscle < min(white, fat) and p.volume.value_range == (0.0, 1000.0)
        assert (region(p, "white matter") & ~filled(region(p, "skull"))).sum() == 0
        assert (eye > white) != (eye < muscle), "the vitreous is the brightest or the darkest soft tissue"
        fluid_is_bright.add(eye > white)
    assert fluid_is_bright == {True, False}


@pytest.mark.parametrize("seed", [1, 2])
def test_fish_swims_forwards_with_its_back_up_and_air_inside(seed):
    p = phantom("fish", seed)
    at = {part.name: centre_world(p, part.name) for part in p.labels.tree}
    order = [at[n][1] for n in ("lower jaw", "left eye", "left gill cover", "swim bladder", "anal fin", "tail fin")]
    assert order == sorted(order)
    heights = [at[n][2] for n in ("dorsal fin", "neural spines", "spine", "swim bladder", "heart")]
    assert heights == sorted(heights, reverse=True)
    for pair in ("eye", "gill", "pectoral fin", "pelvic fin"):
        assert at[f"left {pair}"][0] > at[f"right {pair}"][0]
    bladder = region(p, "swim bladder")
    assert (bladder & ~filled(region(p, "ribs") | region(p, "spine"))).mean() < 0.02 * bladder.mean()
    assert np.percentile(p.volume.native_values()[bladder], 20) < -900


@pytest.mark.parametrize("seed", [1, 2])
def test_chest_has_the_heart_between_the_lungs_with_its_tip_to_the_left(seed):
    p = phantom("chest", seed)
    at = {part.name: centre_world(p, part.name) for part in p.labels.tree}
    assert at["right ventricle"][0] < at["left ventricle"][0] and at["right ventricle"][1] < at["left ventricle"][1]
    assert at["left atrium"][1] > at["left ventricle"][1] and at["left atrium"][2] > at["left ventricle"][2]
    assert at["right upper lobe"][0] < at["heart"][0] < at["left upper lobe"][0]
    assert at["right upper lobe"][2] > at["right middle lobe"][2] > at["liver"][2]
    assert at["right middle lobe"][1] < at["right lower lobe"][1]
    assert at["sternum"][1] < at["heart"][1] < at["descending aorta"][1] < at["spine"][1]
    assert at["aortic arch"][2] > at["heart"][2] > at["diaphragm"][2]
    heights = [at[f"thoracic vertebra {i}"][2] for i in range(1, 13)]
    assert heights == sorted(heights, reverse=True)
    assert all(at[f"left rib {i}"][0] > 0 > at[f"right rib {i}"][0] for i in range(1, 11))


@pytest.mark.parametrize("seed", [1, 2])
def test_hand_has_its_fingers_in_order_above_the_wrist(seed):
    p = phantom("hand", seed)
    at = [centre_world(p, n) for n in ("thumb", "index finger", "middle finger", "ring finger", "little finger")]
    thumb_side = 1.0 if "right" in next(part for part in p.labels.tree if part.name == "hand").attributes else -1.0
    across = [thumb_side * c[0] for c in at]
    assert across == sorted(across, reverse=True)
    rows = [centre_world(p, n)[2] for n in ("forearm bones", "wrist bones", "palm bones", "finger bones")]
    assert rows == sorted(rows)
    palm, nail, tip = (centre_world(p, n) for n in ("palm bones", "middle nail", "distal middle phalanx"))
    assert np.linalg.norm(nail - palm) > np.linalg.norm(tip - palm)
    assert sum(part.name.endswith("phalanx") for part in p.labels.tree) == 14
    for bone in ("first index bone", "capitate"):
        assert (region(p, bone) & ~filled(region(p, "skin"))).sum() == 0


def test_tooth_layers_lie_inside_each_other():
    p = make_phantom("tooth", 3, size_xyz=(48, 42, 76))
    enclosed = filled(region(p, "enamel") | region(p, "dentin") | region(p, "roots"))
    assert (region(p, "pulp") & ~enclosed).sum() == 0
    assert centre_world(p, "enamel")[2] > centre_world(p, "pulp")[2] > centre_world(p, "roots")[2]


def test_lobster_has_two_claws_in_front_and_a_fan_behind():
    p = phantom("lobster", 1)
    assert centre_world(p, "claws")[1] < centre_world(p, "carapace")[1] < centre_world(p, "tail fan")[1]
    assert centre_world(p, "left claw")[0] > centre_world(p, "right claw")[0]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_fruit_has_its_core_in_the_middle_and_its_stalk_on_top(seed):
    p = phantom("fruit", seed)
    hull = filled(region(p, "flesh"))
    assert (region(p, "core") & hull).sum() > 0.9 * region(p, "core").sum()
    assert centre_world(p, "stalk")[2] > centre_world(p, "flesh")[2]
    layers = [ndimage.distance_transform_edt(p.labels.labels > 0)[region(p, n)].mean() for n in ("peel", "core")]
    assert layers[0] < layers[1]


@pytest.mark.parametrize("seed", [1, 3])
def test_shell_grows_from_the_apex_to_the_aperture(seed):
    p = phantom("shell", seed)
    names = [x.name for x in p.labels.tree if x.name.startswith("whorl ")][::-1]
    sizes = [region(p, name).sum() for name in ("apex", *names, "body whorl")]
    assert sizes[0] < sizes[-1] and sizes[1:] == sorted(sizes[1:])
    middle = centre_world(p, "outer wall")
    far = [np.linalg.norm(centre_world(p, name) - middle) for name in ("body whorl", "aperture", "lip")]
    assert far == sorted(far)


@pytest.mark.parametrize("seed", [1, 2])
def test_circuit_carries_its_components_on_the_board(seed):
    p = phantom("circuit", seed)
    heights = [centre_world(p, name)[2] for name in ("board", "solder balls", "chips", "capacitors")]
    assert heights == sorted(heights)
    size = np.sort(np.ptp(np.argwhere(region(p, "board")), axis=0) * p.volume.grid.spacing_xyz[::-1])
    assert size[0] < 0.4 * size[1] < size[2]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_parts_of_the_flame_are_levels_of_temperature(seed):
    p = phantom("flame", seed)
    kelvin = p.volume.native_values()
    coldest = [np.quantile(kelvin[region(p, name)], 0.05) for name in ("smoke", "mantle", "core", "hot spots")]
    assert coldest == sorted(coldest) and np.diff(coldest).min() > 50
    assert kelvin[p.labels.labels == 0].max() < kelvin[region(p, "mantle")].min()
    assert centre_world(p, "smoke")[2] > centre_world(p, "core")[2] > centre_world(p, "flame base")[2]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_bottle_is_closed_on_top_and_its_liquid_lies_level(seed):
    p = phantom("bottle", seed)
    heights = [centre_world(p, name)[2] for name in ("bottom", "body", "neck", "cap")]
    assert heights == sorted(heights)
    assert (region(p, "liquid") & ~filled(region(p, "bottle"))).sum() == 0
    iz, iy, ix = np.nonzero(region(p, "surface of the liquid"))
    slopes = np.linalg.lstsq(np.stack([ix, iy, np.ones(len(ix))], axis=1), iz, rcond=None)[0][:2]
    assert np.abs(slopes).max() < 0.02, "level in the world, however the bottle leans"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_bolt_carries_washer_and_nut_between_head_and_tip(seed):
    p = phantom("bolt", seed)
    heights = [centre_world(p, name)[2] for name in ("tip", "nut", "washer", "bolt head")]
    assert heights == sorted(heights)
    assert centre_world(p, "thread")[2] < centre_world(p, "shank")[2]


@pytest.mark.parametrize("seed", [1, 2])
def test_skull_is_hollow_with_the_jaw_below_and_teeth_by_the_side(seed):
    p = phantom("skull", seed)
    at = {n: centre_world(p, n) for n in ("cranium", "maxilla", "mandible", "upper teeth", "lower teeth", "chin")}
    assert at["cranium"][2] > at["maxilla"][2] > at["upper teeth"][2] > at["lower teeth"][2] > at["chin"][2]
    assert centre_world(p, "frontal bone")[1] < at["cranium"][1] < centre_world(p, "occipital bone")[1]
    assert centre_world(p, "left orbit")[0] > centre_world(p, "nasal bone")[0] > centre_world(p, "right orbit")[0]
    inside = ndimage.binary_fill_holes(region(p, "cranium")[int(region(p, "cranium").shape[0] * 0.7)])
    assert (p.labels.labels[int(region(p, "cranium").shape[0] * 0.7)][inside] == 0).mean() > 0.6
    teeth = [part for part in p.labels.tree if part.name.rstrip("0123456789 ").endswith("molar")]
    assert 12 <= len(teeth) <= 20
    assert all((centre_world(p, t.name)[0] > at["maxilla"][0]) == ("left" in t.name) for t in teeth)


def test_size_and_spacing_are_kept():
    sized = make_phantom("tooth", 0, size_xyz=(20, 30, 41))
    assert sized.volume.values.shape == (41, 30, 20)
    assert sized.volume.grid.spacing_xyz == pytest.approx((16.0 / 20, 14.4 / 30, 25.6 / 41))
    spaced = make_phantom("tooth", 0, spacing_xyz=(0.4, 0.6, 0.8))
    assert spaced.volume.grid.size_xyz == (40, 24, 32)
    assert spaced.volume.grid.spacing_xyz == (0.4, 0.6, 0.8)
    cut = make_phantom("tooth", 0, size_xyz=(10, 10, 12), spacing_xyz=(0.5, 0.5, 0.5))
    assert cut.volume.grid.size_xyz == (10, 10, 12)
    assert np.allclose(cut.volume.grid.centre_world, 0)
    assert (cut.labels.labels > 0).mean() > 0.3


def test_caption_nouns_drop_the_number_of_repeated_parts():
    p = phantom("bonsai", 1)
    nouns = p.caption_nouns[p.labels.tree.named("leaf cluster 2").id]
    assert nouns[0] == "leaf cluster" and len(set(nouns)) == len(nouns)


def test_an_unknown_family_lists_the_choices():
    with pytest.raises(VolumeError, match=r"'bonsai', 'head'.*'submarine'"):
        make_phantom("submarine", 0)
    with pytest.raises(VolumeError, match="seed"):
        make_phantom("bonsai", -1)


def test_a_material_look_outside_the_unit_range_is_refused():
    with pytest.raises(VolumeError, match="band"):
        MaterialLook(0.5, 0.4, (1.0, 1.0, 1.0), 0.5, "upside down")
    with pytest.raises(VolumeError, match="band"):
        MaterialLook(0.1, 0.4, (1.0, 1.2, 1.0), 0.5, "too bright")
