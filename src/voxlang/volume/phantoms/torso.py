"""Torso as contrast-enhanced CT shows it: HU, front towards -y, left towards +x."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from voxlang.volume.phantoms.language import Shape, rotation, smooth_union
from voxlang.volume.phantoms.primitives import ball, box, capsule, cylinder, ellipsoid, loft, torus, tube
from voxlang.volume.phantoms.scene import Material, Scene
from voxlang.volume.phantoms.tissue import (
    AIR,
    BLOOD,
    BONE,
    BOWEL,
    FAT,
    FLUID,
    HEART,
    KIDNEY,
    LIVER,
    LUNG,
    MUSCLE,
    NOISE_HU,
    RANGE_HU,
    SKIN,
    SPLEEN,
    SPONGY_BONE,
)

BOX_MM = (400.0, 280.0, 480.0)
SIZE_XYZ = (108, 76, 128)
PROMPTS = ("torso", "bones", "lungs", "liver", "kidneys", "spine", "pelvis", "heart")
SIDES = ((1, "left"), (-1, "right"))


def describe(rng: np.random.Generator) -> Scene:
    """Skin, fat and muscle around spine, ribs and pelvis; lungs, heart and vessels; the organs of the belly."""
    scene = Scene(rng, AIR, RANGE_HU, noise=NOISE_HU)
    scene.placed(yaw_deg=7, tilt_deg=2.5, scale=0.12, jitter=3)
    bone = scene.varied(BONE, 120)
    torso = scene.whole("torso", ("trunk of the body", "upper body", "thorax and abdomen"), ("human",))
    skin = scene.part("skin", torso, ("outer surface", "body surface", "epidermis"), ("soft",))
    flesh = scene.part("soft tissue", torso, ("flesh", "fat and muscle"), ("soft",))
    fat = scene.small("fat", flesh, ("adipose tissue", "fatty tissue"), ("yellow", "soft"))
    muscles = scene.small("muscles", flesh, ("muscle", "muscular wall"), ("red",))

    waist, girth, padding = rng.uniform(0.9, 1.08), rng.uniform(0.92, 1.08), rng.uniform(7, 18)
    body = _body(waist, girth)
    hide = replace(SKIN, rgb=tuple((np.array(SKIN.rgb) * rng.uniform(0.5, 1.05)).clip(0, 1).tolist()))
    scene.paint(body, skin, hide)
    scene.paint(body.grown(-4.5), fat, FAT)
    scene.paint(body.grown(-4.5 - padding), muscles, MUSCLE)
    cavity = body.grown(-17 - padding)
    scene.paint(cavity, fat, FAT)
    back = tube([(30, 84, -230), (30, 80, -60), (26, 86, 120), (18, 70, 230)], (24, 20, 17, 12), n=10)
    psoas = tube([(34, 52, -20), (42, 40, -90), (72, 0, -200)], (8, 19, 16), n=8)
    scene.paint((back | psoas).both_sides(), muscles, MUSCLE, inside=(fat,))
    under = (fat, muscles)

    _bowel(scene, rng, torso, under)
    _chest(scene, rng, torso, cavity, under)
    _organs(scene, rng, torso, under)
    _vessels(scene, torso)
    within = tuple(p.id for p in scene.parts if p.id != skin)
    _bones(scene, rng, torso, bone, padding, girth, within)

    hard = [(SPONGY_BONE, 0.5), (bone, 0.9)]
    organs = [(LIVER, 0.3), (SPLEEN, 0.3), (HEART, 0.3), (KIDNEY, 0.4), (BLOOD, 0.5)]
    scene.show("surface", [(replace(hide, value=-170, band=300), 0.9), *hard])
    scene.show("bones", hard)
    scene.show("organs", [(LUNG, 0.04), *organs])
    scene.show("contents", [(hide, 0.01), (LUNG, 0.03), *organs, *hard])
    scene.show("muscles", [(MUSCLE, 0.35), *hard])
    return scene


def _body(waist: float, girth: float) -> Shape:
    """The outer surface, from the hips to the neck."""
    rows = [
        (-250, 5, 166, 106),
        (-175, 5, 172 * girth, 108),
        (-75, 0, 146 * waist, 100 * girth),
        (20, 0, 154 * girth, 108 * girth),
        (110, 0, 166, 112),
        (160, 8, 178, 96),
        (195, 15, 140, 78),
        (214, 19, 74, 62),
        (250, 20, 56, 56),
    ]
    return loft([(z, 0, cy, rx, ry) for z, cy, rx, ry in rows], power=2.4)


def _chest(scene: Scene, rng: np.random.Generator, torso: int, cavity: Shape, under: tuple[int, ...]) -> None:
    """Lungs over the diaphragm, the windpipe and the heart."""
    lungs = scene.part("lungs", torso, ("pulmonary lobes", "breathing organs", "lung"), ("spongy", "air-filled"))
    dome = ellipsoid(150, 105, 62).moved(y=0, z=-22)
    place = rotation(x_deg=rng.uniform(-8, 8), y_deg=rng.uniform(28, 45))
    muscle = ellipsoid(40, 37, 56).turned(place).moved(20, -30, 72)
    for side, name in SIDES:
        lung = scene.small(f"{name} lung", lungs, (f"{name} pulmonary lobe", f"{name}-sided lung"), ("spongy",))
        space = ellipsoid(62, 80, 112, power=2.3).moved(side * 72, 8, 80)
        shape = (space & cavity) - dome - muscle.grown(4) - ellipsoid(24, 200, 300).moved(y=40)
        scene.paint(shape, lung, LUNG, inside=under)
    pipe = scene.small("trachea", lungs, ("windpipe", "bronchi", "airway"), ("tubular", "hollow"))
    way = tube([(0, 8, 250), (0, 12, 170), (0, 18, 125)], 8.5, n=6)
    scene.paint(way | tube([(0, 18, 126), (28, 20, 108), (52, 20, 92)], (7, 6, 4), n=6).both_sides(), pipe, AIR)
    heart = scene.part("heart", torso, ("cardiac muscle", "cardiac organ", "myocardium"), ("red", "muscular"))
    chambers = scene.small("heart chambers", heart, ("ventricles", "heart cavities"), ("blood-filled",))
    scene.paint(muscle, heart, HEART, inside=(*under, 0))
    inner = ellipsoid(13, 15, 32).moved(-16, 0, 2) | ellipsoid(12, 14, 32).moved(15, 0, -3)
    scene.paint(inner.turned(place).moved(20, -30, 72), chambers, BLOOD, inside=(heart,))


def _organs(scene: Scene, rng: np.random.Generator, torso: int, under: tuple[int, ...]) -> None:
    """Liver, stomach, spleen, kidneys and bladder."""
    size = rng.uniform(0.92, 1.08)
    free = (*under, *(p.id for p in scene.parts if "intestine" in p.name or p.name == "colon"))
    stomach = scene.part("stomach", torso, ("gastric organ", "belly pouch"), ("hollow",))
    sack = tube([(34, 22, 26), (62, 6, 14), (66, -34, -14), (34, -54, -38), (4, -46, -36)], (18, 30, 27, 17, 10), n=12)
    scene.paint(sack, stomach, BOWEL, inside=free)
    filling = scene.small("stomach contents", stomach, ("food", "gastric contents"), ("liquid",))
    scene.paint(sack.grown(-5), filling, FLUID, inside=(stomach,))
    liver = scene.part("liver", torso, ("hepatic organ", "hepatic tissue"), ("brown", "large"))
    right = ellipsoid(66 * size, 78 * size, 66 * size).moved(-69, 4, -18)
    lobes = smooth_union(right, ellipsoid(80, 42, 30).moved(-8, -38, 12), 22).cut((-0.35, 0, -1), 62)
    scene.paint(lobes.wobbled(rng, 2.5, 70), liver, LIVER, inside=(*free, stomach))
    bile = scene.small("gallbladder", liver, ("gall bladder", "bile sac"), ("green",))
    scene.paint(ellipsoid(11, 12, 24).moved(-44, -46, -44), bile, FLUID, inside=(*free, liver))
    spleen = scene.part("spleen", torso, ("lien", "splenic organ"), ("purple",))
    bean = ellipsoid(21, 40, 48).turned(rotation(x_deg=25, z_deg=-25)).moved(100, 42, 8) - ball(38).moved(66, 20, 12)
    scene.paint(bean, spleen, SPLEEN, inside=(*free, stomach))
    kidneys = scene.part("kidneys", torso, ("renal organs", "renal pair", "kidney"), ("bean-shaped",))
    for side, name in SIDES:
        kidney = scene.small(f"{name} kidney", kidneys, (f"{name} renal organ",), ("bean-shaped",))
        shape = ellipsoid(27 * size, 23, 52 * size) - ellipsoid(15, 14, 17).moved(x=-27)
        shape = shape.turned(rotation(y_deg=-12, z_deg=-20)).moved(64, 50, -44 + 7 * side)
        shape = shape if side > 0 else shape.mirrored().moved(z=-4)
        scene.paint(shape, kidney, KIDNEY, inside=(*free, liver))
    bladder = scene.part("bladder", torso, ("urinary bladder", "vesica"), ("round", "fluid-filled"))
    fill = rng.uniform(0.75, 1.15)
    scene.paint(ellipsoid(40 * fill, 34 * fill, 28 * fill).moved(y=-26, z=-192), bladder, FLUID, inside=free)


def _bowel(scene: Scene, rng: np.random.Generator, torso: int, under: tuple[int, ...]) -> None:
    """Loops of the small intestine inside the frame of the colon."""
    gut = scene.part("intestines", torso, ("bowel", "gut", "guts", "bowels"), ("coiled",))
    loops = scene.small("small intestine", gut, ("small bowel", "ileum"), ("coiled",))
    colon = scene.small("colon", gut, ("large intestine", "large bowel"), ("tubular",))
    turns = np.linspace(0, 1, 26)
    path = np.stack(
        [
            62 * np.sin(turns * 40 + rng.uniform(0, 6)) + rng.normal(0, 6, 26),
            -42 + 22 * np.cos(turns * 26 + rng.uniform(0, 6)),
            -58 - 104 * turns + rng.normal(0, 5, 26),
        ],
        axis=1,
    )
    scene.paint(tube(path, 12.5, n=110), loops, BOWEL, inside=under)
    frame = [
        (-96, 15, -150),
        (-104, 20, -70),
        (-70, -50, -52),
        (0, -66, -66),
        (70, -50, -45),
        (105, 25, -60),
        (102, 20, -150),
        (40, 10, -185),
        (0, 30, -215),
    ]
    scene.paint(tube(frame, 19, n=40).wobbled(rng, 2.5, 26), colon, BOWEL, inside=(*under, loops))


def _vessels(scene: Scene, torso: int) -> None:
    """Aorta with its arch and both iliac arteries, and the great vein."""
    vessels = scene.part("blood vessels", torso, ("vessels", "great vessels", "vasculature"), ("red", "tubular"))
    aorta = scene.small("aorta", vessels, ("main artery", "great artery"), ("red", "tubular"))
    vein = scene.small("vena cava", vessels, ("great vein", "caval vein"), ("tubular",))
    arch = [(4, -18, 100), (0, -18, 135), (8, 8, 156), (18, 40, 138), (18, 42, 60), (10, 36, -40), (6, 32, -110)]
    iliac = tube([(6, 32, -108), (32, 18, -150), (66, -20, -215), (74, -30, -250)], (8, 7, 7, 6), n=8)
    scene.paint(tube(arch, (14, 14, 13, 12, 12, 11, 10), n=30) | iliac | iliac.mirrored(), aorta, BLOOD)
    way = [(-20, -8, 150), (-24, -6, 100), (-22, 20, 40), (-16, 30, -40), (-14, 32, -110)]
    scene.paint(tube(way, (9, 11, 12, 11, 11), n=14), vein, BLOOD, keep=(aorta,))


def _bones(
    scene: Scene,
    rng: np.random.Generator,
    torso: int,
    bone: Material,
    padding: float,
    girth: float,
    within: tuple[int, ...],
) -> None:
    """Spine, ribs, breastbone, collarbones, shoulder blades, pelvis and the tops of the thigh bones."""
    bones = scene.part("bones", torso, ("skeleton", "bony frame", "bone"), ("white", "hard"))
    spine = scene.small("spine", bones, ("backbone", "vertebral column", "vertebrae"), ("bony",))
    column = []
    for z in np.arange(-158, 250, 24.0):
        r, y = 20 - 0.016 * (z + 158), 66 + 9 * np.sin((z + 40) / 110)
        body = cylinder((0, y, z - 10), (0, y, z + 10), r, rounding=4)
        arch = torus(13, 4.5).moved(0, y + r + 6, z) | capsule((0, y + r + 18, z), (0, y + r + 27, z - 8), 5, 3.5)
        column += [body, arch, capsule((10, y + r, z), (36 - 0.04 * z, y + r + 6, z + 2), 5, 4).both_sides()]
        scene.paint(column, spine, bone, inside=within)
        scene.paint(body.grown(-5), spine, SPONGY_BONE, inside=(spine,))
        column = []
    sacrum = loft([(-222, 0, 74, 12, 8), (-190, 0, 84, 32, 13), (-166, 0, 74, 48, 20)])
    scene.paint(sacrum, spine, bone, inside=within)
    ribs = scene.small("ribs", bones, ("rib cage", "costal bones", "rib"), ("curved", "bony"))
    angle = np.linspace(0.2, 1, 9) * np.pi * 0.93
    arcs = []
    for i in range(11):
        z0 = 196 - 17.5 * i
        rx = min(62 + 24 * i, 148 * girth - padding - 2, 400)
        ry = min(58 + 10 * i, 98 * girth - padding * 0.8)
        end = angle * (1.0 if i < 7 else 1.0 - 0.11 * (i - 6))
        drop = 26 * (end / 2.2) ** 1.2 * (0.5 + 0.07 * i)
        points = np.stack([rx * np.sin(end), 2 + ry * np.cos(end), z0 - drop], axis=1)
        arcs.append(tube(points, 5.0, n=22))
    scene.paint([a.both_sides() for a in arcs], ribs, bone, inside=within)
    sternum = scene.small("sternum", bones, ("breastbone", "chest bone"), ("flat", "bony"))
    front = -(96 * girth - padding * 0.8) + 2
    scene.paint(
        box(17, 6.5, 66, rounding=5).turned(rotation(x_deg=-6)).moved(0, front, 104), sternum, bone, inside=within
    )
    collar = scene.small("collarbones", bones, ("clavicles", "clavicle"), ("bony", "thin"))
    path = [(12, front + 8, 168), (50, front + 20, 176), (92, -26, 172), (124, 0, 164)]
    scene.paint(tube(path, 6.5, n=12).both_sides(), collar, bone, inside=within)
    blades = scene.small("shoulder blades", bones, ("scapulae", "scapula"), ("flat", "bony"))
    blade = ellipsoid(38, 6, 56, power=1.7).turned(rotation(x_deg=-6, z_deg=-24)).moved(98, 76, 122)
    scene.paint(blade.both_sides(), blades, bone, inside=within)
    pelvis = scene.small("pelvis", bones, ("hip bone", "pelvic girdle", "hips"), ("bony", "bowl-shaped"))
    bowl = ellipsoid(132, 92, 100).moved(y=8, z=-140).shell(12)
    wing = bowl.cut((0, 0, 1), -118).cut((0, -1, -0.5), 84).cut((-1, 0, 0), -36)
    ring = tube([(92, 0, -200), (58, -48, -206), (14, -70, -214), (0, -71, -216)], (15, 9, 9, 10), n=10)
    seat = tube([(88, 10, -205), (70, 40, -226), (50, 10, -246), (30, -50, -226)], (12, 11, 9, 8), n=10)
    scene.paint((wing | ring | seat).both_sides(), pelvis, bone, inside=within)
    thighs = scene.small("thigh bones", bones, ("femurs", "femur heads"), ("bony",))
    thigh = ball(22).moved(96, -2, -206) | tube([(98, -2, -206), (128, 0, -224), (134, 0, -260)], (13, 16, 15), n=6)
    scene.paint(thigh.both_sides(), thighs, bone, inside=within)
