"""Head and neck as CT shows them: HU, face towards -y, left towards +x."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from voxlang.volume.phantoms.language import Shape, rotation, smooth_union, union
from voxlang.volume.phantoms.primitives import ball, box, capsule, cylinder, ellipsoid, loft, torus, tube
from voxlang.volume.phantoms.scene import Material, Scene
from voxlang.volume.phantoms.tissue import CT, Tissues

BOX_MM = (192.0, 236.0, 252.0)
SIZE_XYZ = (96, 118, 126)
PROMPTS = ("head", "skull", "brain", "skin", "teeth", "mandible", "left eye", "cerebellum")
SKINS = {"pale": (0.93, 0.76, 0.66), "tan": (0.80, 0.60, 0.46), "brown": (0.55, 0.38, 0.28), "dark": (0.38, 0.26, 0.20)}


def describe(rng: np.random.Generator) -> Scene:
    """Skin over fat and muscle, skull with mandible and teeth, brain, eyes, airways and the upper spine."""
    scene, t = anatomy(rng, CT)
    hard = [(t.spongy_bone, 0.8), (t.bone, 0.95), (t.enamel, 0.95)]
    cover = replace(t.skin, value=-170, band=300)
    scene.show("surface", [(cover, 0.9), (t.eye, 0.95), *hard])
    scene.show("bones", hard)
    scene.show(
        "contents",
        [(t.skin, 0.02), (t.brain, 0.25), (t.eye, 0.4), (t.spongy_bone, 0.02), (t.bone, 0.03), (t.enamel, 0.8)],
    )
    scene.show("brain and eyes", [(t.brain, 0.3), (t.eye, 0.4)])
    scene.show("skin over bone", [(t.skin, 0.06), (t.muscle, 0.04), *hard])
    return scene


def anatomy(rng: np.random.Generator, tissues: Tissues) -> tuple[Scene, Tissues]:
    """A head without looks, and its own tissues: those given, varied."""
    scene = Scene(rng, tissues.air, tissues.native_range, noise=tissues.noise, bias=tissues.bias)
    scene.placed(yaw_deg=12, tilt_deg=6, scale=0.12, jitter=3)
    tone = str(rng.choice(list(SKINS)))
    bone, nerve = scene.varied(tissues.bone, tissues.bone_spread), scene.varied(tissues.brain, tissues.brain_spread)
    tissues = replace(tissues, skin=replace(tissues.skin, rgb=SKINS[tone]), bone=bone, brain=nerve)
    skin, muscle = tissues.skin, tissues.muscle
    width, jaw, nose = rng.uniform(0.94, 1.04), rng.uniform(0.9, 1.08), rng.uniform(0.8, 1.15)

    head = scene.whole("head", ("human head", "face and skull"), ("human",))
    face = scene.part("skin", head, ("scalp", "face", "outer surface", "epidermis"), (tone, "soft"))
    flesh = scene.part("soft tissue", head, ("flesh", "fat and muscle"), ("soft",))
    skull = scene.part("skull", head, ("head bone", "bony skull", "skeleton of the head"), ("bony", "white"))
    brain = scene.part("brain", head, ("encephalon", "cerebral tissue"), ("soft", "pink"))
    eyes = scene.part("eyes", head, ("eyeballs", "globes"), ("round",))
    teeth = scene.part("teeth", head, ("dentition", "dental arches"), ("white", "hard"))
    spine = scene.part("cervical spine", head, ("neck bones", "neck vertebrae", "backbone"), ("bony",))
    airways = scene.part("airways", head, ("air passages", "respiratory tract"), ("hollow", "air-filled"))

    skin_shape, neck = _outline(head_width=width, jaw=jaw, nose=nose)
    scene.paint(skin_shape, face, skin)
    ears = {}
    for side, name in ((1, "left"), (-1, "right")):
        ears[name] = scene.small(f"{name} ear", face, (f"{name} auricle", f"{name} pinna"), (tone,))
        ear = ellipsoid(5, 17, 30).wobbled(rng, 1.5, 30) - ellipsoid(6, 10, 17).moved(x=5, y=-2)
        ear = ear.turned(rotation(y_deg=12, z_deg=28)).moved(79 * width, 18, 2)
        scene.paint(ear if side > 0 else ear.mirrored(), ears[name], skin)
    tip = scene.small("nose", face, ("nasal tip", "snout"), (tone,))
    scene.paint(_nose(nose), tip, skin)
    lips = scene.small("lips", face, ("mouth", "lip"), ("soft",))
    lip = ellipsoid(21, 8, 4.5)
    scene.paint(lip.moved(y=-87, z=-50) | lip.moved(y=-86, z=-58), lips, skin)

    fat = scene.small("fat", flesh, ("adipose tissue", "subcutaneous fat"), ("soft", "yellow"))
    muscles = scene.small("muscles", flesh, ("muscle", "muscular tissue"), ("red",))
    scene.paint(skin_shape.grown(-3.4), fat, tissues.fat)
    chew = ellipsoid(11, 24, 34).moved(56 * width, -6, -34) | ellipsoid(8, 34, 30).moved(66 * width, -12, 26)
    scene.paint(
        union([neck.grown(-7), chew.both_sides() & skin_shape.grown(-6), ellipsoid(40, 38, 16).moved(y=-40, z=-66)]),
        muscles,
        muscle,
        inside=(fat,),
    )

    case = _braincase(width)
    _skull(scene, rng, skull, case, tissues, width, jaw, under_skin=(fat, muscles))
    _teeth(scene, rng, teeth, tissues.enamel, jaw)
    _spine(scene, spine, tissues)
    _brain(scene, rng, brain, case, tissues, width)
    for side, name in ((1, "left"), (-1, "right")):
        eye = scene.small(f"{name} eye", eyes, (f"{name} eyeball", f"{name} globe"), ("round",))
        scene.paint(ball(12.5).moved(side * 32 * width, -70, 9), eye, tissues.eye)
    tongue = scene.small("tongue", flesh, ("lingua",), ("muscular", "red"))
    scene.paint(ellipsoid(19 * jaw, 27, 13).moved(y=-42, z=-52), tongue, muscle, keep=(skull, teeth))
    _airways(scene, airways, nose)
    return scene, tissues


def _outline(*, head_width: float, jaw: float, nose: float) -> tuple[Shape, Shape]:
    """The whole surface without ears, and the neck."""
    w = head_width
    vault = ellipsoid(79 * w, 97, 78).moved(y=8, z=37)
    face = loft(
        [
            (-88, 0, -62, 8, 8),
            (-84, 0, -58, 26 * jaw, 26),
            (-58, 0, -37, 52 * jaw, 52),
            (-18, 0, -22, 68 * w, 67),
            (18, 0, -12, 70 * w, 78),
            (50, 0, 0, 66 * w, 80),
        ]
    )
    neck = loft([(-140, 0, 22, 58, 56), (-80, 0, 20, 51, 49), (-30, 0, 26, 54, 52)])
    body = smooth_union(smooth_union(vault, face, 14), neck, 18)
    hollow = ellipsoid(15, 12, 10).moved(32 * w, -93, 9).both_sides()
    lids = ball(14.5).moved(32 * w, -69, 9).both_sides()
    return smooth_union(smooth_union(Shape((body - hollow).solids), lids, 4), _nose(nose), 8), neck


def _nose(size: float) -> Shape:
    """Bridge, tip and wings."""
    bridge = capsule((0, -84, 12), (0, -92 - 14 * size, -20), 6, 8 * size)
    return bridge | ellipsoid(9 * size, 8, 7).moved(7 * size, -86, -23).both_sides()


def _braincase(width: float) -> Shape:
    """The space for the brain: an ellipsoid on a slanting floor, and the posterior fossa."""
    dome = ellipsoid(66 * width, 83, 64).moved(y=9, z=38).cut((0, -0.44, -1), 0.0)
    fossa = ellipsoid(42 * width, 33, 27).moved(y=43, z=-5)
    return smooth_union(dome, fossa, 10)


def _skull(
    scene: Scene,
    rng: np.random.Generator,
    skull: int,
    case: Shape,
    tissues: Tissues,
    width: float,
    jaw: float,
    *,
    under_skin: tuple[int, ...],
) -> None:
    """Cranium with orbits and cheek bones, and the mandible."""
    cranium = scene.small("cranium", skull, ("braincase", "skullcap", "calvaria", "vault"), ("bony", "domed"))
    upper_jaw = scene.small("facial bones", skull, ("maxilla", "cheek bones", "upper jaw", "midface"), ("bony",))
    lower_jaw = scene.small("mandible", skull, ("jaw", "lower jaw", "jawbone"), ("bony", "movable"))
    thick = rng.uniform(6.5, 8.5)
    orbit = capsule((36 * width, -92, 9), (15, -34, 5), 18.5, 4).both_sides()
    nasal = ellipsoid(11, 34, 17).moved(y=-70, z=-16)
    scene.paint((case.grown(thick) - case) - orbit, cranium, tissues.bone, inside=under_skin)
    scene.paint(
        ((case.grown(thick * 0.68) - case.grown(thick * 0.32)) - orbit).cut((0, 0, -1), -20),
        cranium,
        tissues.spongy_bone,
        inside=(cranium,),
    )
    midface = loft(
        [(-46, 0, -52, 25 * jaw, 29), (-30, 0, -50, 33, 30), (-6, 0, -48, 44 * width, 32), (6, 0, -46, 42, 32)]
    )
    cheek = tube(
        [(40 * width, -66, -10), (55 * width, -46, -13), (62 * width, -20, -10), (63 * width, 4, -6)], (8, 5.5, 3.8, 4)
    )
    rim = torus(19, 3.8).turned(rotation(x_deg=90, z_deg=18)).moved(33 * width, -66, 9)
    brow = capsule((8, -79, 27), (38 * width, -68, 27), 4.5)
    bones = (midface | cheek.both_sides() | rim.both_sides() | brow.both_sides()) - orbit - nasal
    bones = (
        bones - ellipsoid(11, 15, 12).moved(25, -54, -20).both_sides() - box(17, 23, 10, rounding=6).moved(y=-45, z=-43)
    )
    bridge = capsule((0, -78, 18), (0, -88, -2), 5)
    scene.paint(bones | bridge, upper_jaw, tissues.bone, inside=under_skin)
    arch = [(45 * jaw, -6, -50), (39 * jaw, -34, -63), (23 * jaw, -64, -71), (0, -76, -74)]
    half = tube(arch, (7, 6.5, 6.5, 7), n=12) | tube([(x, y, z + 8) for x, y, z in arch], (6, 5, 5, 5), n=12)
    ramus = tube([(47 * jaw, -6, -52), (50 * jaw, 2, -30), (52 * width, 3, -13)], (8, 7, 5), n=6)
    hook = tube([(47 * jaw, -12, -48), (50 * jaw, -20, -28), (52 * width, -22, -12)], (7, 6, 3), n=6)
    scene.paint((half | ramus | hook).both_sides(), lower_jaw, tissues.bone, inside=under_skin)


def _teeth(scene: Scene, rng: np.random.Generator, teeth: int, enamel: Material, jaw: float) -> None:
    """Two dental arches; some teeth are missing."""
    present = rng.random(16) > rng.choice([0.0, 0.1])
    for name, z, up in (("upper teeth", -47.0, 1), ("lower teeth", -58.5, -1)):
        arch = scene.small(
            name, teeth, (name.replace("teeth", "dentition"), f"teeth of the {name[:5]} jaw"), ("white",)
        )
        crowns = []
        for i in range(8):
            along = (i + 0.5) / 8
            x, y = 27 * jaw * np.sin(along * 1.52), -81 + 37 * (1 - np.cos(along * 1.52))
            y += 0 if up > 0 else 2.5
            size = (3.4, 2.9, 5.2) if i < 3 else (4.2, 4.2, 4.6)
            crown = ellipsoid(*size, power=3).turned(rotation(z_deg=float(np.degrees(along * 1.3))))
            root = capsule((0, 0, up * 3.0), (0, 0, up * 11.0), 2.4, 1.4)
            for side, here in ((1, present[i]), (-1, present[8 + i])):
                if here:
                    tooth = (crown | root).moved(x, y, z)
                    crowns.append(tooth if side > 0 else tooth.mirrored())
        scene.paint(crowns, arch, enamel)


def _spine(scene: Scene, spine: int, tissues: Tissues) -> None:
    """Vertebrae around the cord, with discs between them."""
    for i, z in enumerate((-34.0, -52.0, -70.0, -88.0, -106.0, -124.0), start=1):
        name = f"neck vertebra {i}"
        vertebra = scene.small(name, spine, ("cervical vertebra", "vertebra", f"C{i}"), ("bony",))
        body = cylinder((0, 14, z - 6.5), (0, 14, z + 6.5), 12, rounding=3)
        arch = torus(13, 4.2).moved(0, 32, z) | capsule((0, 45, z), (0, 58, z - 5), 4, 3)
        wings = capsule((10, 18, z), (24, 20, z - 2), 5, 4).both_sides()
        scene.paint([arch, wings, body], vertebra, tissues.bone)
        scene.paint(body.grown(-3), vertebra, tissues.spongy_bone)


def _brain(scene: Scene, rng: np.random.Generator, brain: int, case: Shape, tissues: Tissues, width: float) -> None:
    """Fluid around hemispheres with furrows, cerebellum, ventricles and brain stem."""
    nerve, white = tissues.brain, tissues.white_matter
    fluid = scene.small("cerebrospinal fluid", brain, ("CSF", "brain fluid"), ("liquid",))
    scene.paint(case, fluid, tissues.fluid)
    dome = ellipsoid(66 * width, 83, 64).moved(y=9, z=38).cut((0, -0.44, -1), 0.0)
    for side, name in ((1, "left"), (-1, "right")):
        half = scene.small(
            f"{name} hemisphere",
            brain,
            (f"{name} cerebral hemisphere", f"{name} half of the brain"),
            ("pink", "folded"),
        )
        lobe = dome.grown(-4.5).wobbled(rng, 2.0, 13).cut((-side, 0, 0), -1.6)
        scene.paint(lobe, half, nerve)
    if white is not None:
        core = scene.small("white matter", brain, ("white substance", "nerve fibres"), ("folded", "inner"))
        depth = dome.grown(-10).wobbled(rng, 3.0, 15)
        scene.paint([depth.cut((-side, 0, 0), -3.5) for side in (1, -1)], core, white)
    little = scene.small("cerebellum", brain, ("little brain", "hindbrain"), ("pink",))
    lobes = ellipsoid(23 * width, 21, 17).moved(16 * width, 48, -8).both_sides()
    scene.paint(lobes.wobbled(rng, 1.0, 8), little, nerve, inside=tuple(p.id for p in scene.parts if p.parent == brain))
    stem = scene.small("brainstem", brain, ("brain stem", "medulla", "spinal cord"), ("soft",))
    scene.paint(tube([(0, 20, 12), (0, 26, -10), (0, 33, -38), (0, 33, -140)], (13, 12, 7, 6), n=14), stem, nerve)
    space = scene.small("ventricles", brain, ("lateral ventricles", "cerebral ventricles"), ("fluid-filled",))
    size = rng.uniform(0.8, 1.4)
    horn = tube([(9, -24, 38), (10, 5, 50), (16, 38, 44), (30, 22, 24)], (5 * size, 6 * size, 7 * size, 3), n=12)
    scene.paint(horn.both_sides(), space, tissues.fluid)


def _airways(scene: Scene, airways: int, nose: float) -> None:
    """Nasal cavity with septum, sinuses, throat."""
    nasal = scene.small("nasal cavity", airways, ("nasal passage", "inside of the nose"), ("hollow",))
    sinuses = scene.small("sinuses", airways, ("paranasal sinuses", "maxillary sinuses"), ("hollow",))
    throat = scene.small("throat", airways, ("pharynx", "windpipe", "trachea"), ("tubular",))
    cavity = ellipsoid(4, 28, 14).moved(5.5, -62, -15) | capsule((7 * nose, -96, -29), (5, -76, -20), 3.5)
    scene.paint(cavity.both_sides(), nasal, scene.air)
    frontal = ellipsoid(12, 4, 8).moved(9, -79, 33)
    scene.paint((ellipsoid(10, 14, 11).moved(25, -54, -20) | frontal).both_sides(), sinuses, scene.air)
    scene.paint(
        tube([(0, -38, -14), (0, -14, -24), (0, -9, -60), (0, -8, -140)], (7, 8, 7, 9), n=14), throat, scene.air
    )
