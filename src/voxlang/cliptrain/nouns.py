"""Words beyond the names of parts: texts that match nothing, synonyms kept out of training, and nouns by field."""

from __future__ import annotations

from typing import Literal

from voxlang.query.config import CANONICAL_NEGATIVES

GENERIC = (*CANONICAL_NEGATIVES, "something", "background", "shape", "material")
"""Texts that are right for nothing and wrong for nothing: they stand between right and wrong names."""

HELD_OUT: dict[str, tuple[str, ...]] = {
    "bonsai": (
        "miniature tree", "planter", "dirt", "stem", "boughs", "canopy", "lip of the pot", "surface roots", "sprigs",
        "tuft of leaves", "bloom", "pot legs",
    ),
    "head": (
        "skeleton of the head", "braincase", "jawbone", "encephalon", "eyeballs", "dentition", "epidermis",
        "neck bones", "respiratory tract", "snout", "hindbrain", "pharynx", "cheek bones", "adipose tissue",
        "muscular tissue", "paranasal sinuses",
    ),
    "torso": (
        "upper body", "breathing organs", "bronchi", "cardiac organ", "hepatic organ", "splenic organ",
        "renal organs", "urinary bladder", "bowel", "small bowel", "large bowel", "vasculature", "main artery",
        "skeleton", "vertebral column", "rib cage", "breastbone", "clavicles", "scapulae", "hip bone", "femurs",
        "gastric organ", "gall bladder",
    ),
    "head_mri": (
        "white substance", "skeleton of the head", "braincase", "jawbone", "encephalon", "eyeballs", "dentition",
        "epidermis", "neck bones", "respiratory tract", "snout", "hindbrain", "pharynx", "cheek bones",
        "adipose tissue", "muscular tissue", "paranasal sinuses",
    ),
    "fish": (
        "freshwater fish", "hide", "fish scales", "fillet", "swimming fins", "upper fin", "belly fin", "caudal fin",
        "left front side fin", "right front side fin", "left ventral fin", "right ventral fin", "entrails",
        "intestine", "fish liver", "fish heart", "gas bladder", "anterior chamber", "posterior chamber", "bony head",
        "skull roof", "upper lip bone", "lower lip bone", "branchiae", "left branchia", "right branchia",
        "left operculum", "right operculum", "fish eyes", "left fish eye", "right fish eye", "whiskers", "fish bones",
        "vertebral column", "rib bones", "dorsal spines", "tail spines",
    ),
    "chest": (
        "upper trunk", "left mamma", "right mamma", "epidermis", "adipose tissue", "chest muscles", "midriff",
        "hepatic organ", "gastric organ", "gastric bubble", "breathing organs", "lung lobe", "left upper lung lobe",
        "left lower lung lobe", "right upper lung lobe", "right middle lung lobe", "right lower lung lobe",
        "respiratory tree", "air pipe", "left main bronchus", "right main bronchus", "upper great vein",
        "lower great vein", "caval veins", "pulmonary tree", "main lung artery", "left lung artery tree",
        "right lung artery tree", "left lung vein tree", "right lung vein tree", "cardiac organ", "myocardium",
        "left lower chamber", "right lower chamber", "left auricle of the heart", "right auricle of the heart",
        "main artery", "thoracic aorta", "aortic root", "bow of the aorta", "carotid arteries", "vertebral column",
        "spinal discs", "chest vertebra", "rib cage", "gristle of the ribs", "left costal bone", "right costal bone",
        "breastbone", "gladiolus", "upper breastbone", "pectoral girdle", "left clavicle", "right clavicle",
        "left scapula", "right scapula",
    ),
    "hand": (
        "manus", "hide of the hand", "fatty pad", "sinews", "back of the hand", "pollex", "forefinger", "third finger",
        "fourth finger", "pinky", "nail plates", "lower arm bones", "spoke bone", "elbow bone", "carpal bones",
        "navicular bone of the hand", "semilunar bone", "triquetral bone", "pea bone", "greater multangular",
        "lesser multangular", "head bone of the wrist", "hooked bone", "metacarpal bones", "bones of the fingers",
        "thumb metacarpal", "index metacarpal", "middle metacarpal", "ring metacarpal", "little metacarpal",
        "jewelry",
    ),
    "tooth": (
        "human tooth", "tooth cap", "dentine", "tooth roots", "dental pulp", "pulp cavity", "nerve canals",
        "dental filling",
    ),
    "engine": (
        "motor", "engine casing", "bores", "sump", "rocker cover", "screws", "crank", "plungers", "balance wheel",
        "belt wheel", "poppet valves", "cam shaft", "ignition plugs", "tubes", "inlet pipes", "exhaust tubes", "conrod",
    ),
    "lobster": (
        "crayfish", "back shell", "pleon", "pincers", "walking legs", "feelers", "soft body", "beak", "eye stalks",
        "uropods",
    ),
    "fruit": (
        "piece of fruit", "fruit skin", "mesocarp", "heart of the fruit", "peduncle", "sepals", "fruit leaf",
        "leaf vein", "pip", "pips", "fruit segment", "drupe stone", "locules",
    ),
    "shell": (
        "seashell", "shell wall", "final turn", "volution", "protoconch", "mother of pearl", "orifice", "peristome",
        "partitions", "chamber wall", "siphon tube", "central pillar", "mud infill",
    ),
    "circuit": (
        "printed circuit board", "circuit card", "screw eyes", "header", "plug contacts", "integrated circuits",
        "chip package", "leads", "silicon dies", "solder joints", "solder bumps", "condensers", "condenser",
        "chip resistors", "chip resistor", "metal ends", "conductor tracks", "plated holes", "cooler", "choke",
        "wire turns", "ribs of the cooler",
    ),
    "flame": (
        "burning gas", "fumes", "flame envelope", "inner flame", "temperature peaks", "licks of flame",
        "root of the flame", "eddies",
    ),
    "bottle": (
        "drinking bottle", "belly of the bottle", "slope of the bottle", "bottleneck", "collar of the neck",
        "rim of the bottle", "floor of the bottle", "push-up", "fluid", "meniscus", "fizz", "tag of the bottle", "logo",
        "closure", "winding of the cap", "knurling", "tamper band", "crimps", "top of the cork",
    ),
    "bolt": (
        "threaded fastener", "screw head", "bolt shank", "threading", "bolt end", "thread crest", "collar of the head",
        "tool recess", "flat ring", "split ring", "sealing ring", "bracket", "hole edges", "screw nut", "thumb tabs",
        "dome of the nut", "locking ring", "inner channel",
    ),
    "skull": (
        "death's head", "brain box", "left parietal", "right parietal", "forehead bone", "occiput", "left temple",
        "right temple", "skull seams", "facial skeleton", "upper jawbone", "left eye hole", "right eye hole",
        "left zygoma", "right zygoma", "left yoke bone", "right yoke bone", "nose bone", "jawbone", "mandibular body",
        "point of the jaw", "left jaw branch", "right jaw branch", "upper dentition", "lower dentition", "front tooth",
        "eye tooth", "bicuspid", "back tooth",
    ),
}  # fmt: skip
"""Synonyms of parts that no picture is trained to: about one per part. Every second one in alphabetical order is kept
out of the teacher's phrases too."""


def held_out() -> frozenset[str]:
    """All synonyms that no picture is trained to."""
    return frozenset(s for words in HELD_OUT.values() for s in words)


def held_out_from_teacher() -> frozenset[str]:
    """Those of them that the text tower never meets as a phrase of the teacher's either."""
    return frozenset(sorted(held_out())[1::2])


_FIELDS: dict[str, str] = {
    "plants": """leaf leaves foliage leafage greenery tree shrub bush bark wood timber log stump trunk bole stem stalk
        twig bough branch limb sprig shoot sprout bud blossom flower bloom petal sepal stamen pistil pollen seed nut
        fruit berry apple pear peach plum orange lemon melon tomato pepper onion garlic carrot potato root rootlet tuber
        bulb corm rhizome moss lichen fern grass reed bamboo palm pine needle cone acorn oak maple juniper ficus elm
        cactus succulent thorn vine ivy tendril frond crown canopy hedge bouquet wreath garden pot planter flowerpot
        vase urn bowl saucer tray soil earth dirt mud clay sand gravel compost peat mulch humus pebble stone rock""",
    "body": """head face forehead cheek chin neck throat shoulder arm elbow wrist hand finger thumb nail chest breast
        belly abdomen back waist hip buttock groin thigh knee shin calf ankle foot toe heel skin scalp hair beard
        eyebrow eyelash eyelid eye eyeball pupil iris cornea lens retina nose nostril mouth lip tongue tooth teeth gum
        palate tonsil jaw ear earlobe eardrum cochlea skull cranium braincase mandible maxilla jawbone cheekbone
        vertebra vertebrae spine backbone sacrum tailbone rib ribs sternum clavicle scapula humerus radius ulna carpal
        phalanges pelvis femur patella kneecap tibia fibula tarsal skeleton bone bones marrow cartilage joint ligament
        tendon muscle flesh fat tissue nerve brain cerebrum cerebellum brainstem cortex hippocampus thalamus ventricle
        heart atrium aorta artery vein vena capillary vessel blood lymph lung lungs bronchus trachea windpipe diaphragm
        larynx pharynx esophagus stomach liver gallbladder bile pancreas spleen kidney ureter bladder urethra
        intestine bowel gut colon rectum appendix uterus ovary prostate testis thyroid adrenal pituitary gland tumor
        cyst lesion fracture implant stent pacemaker organ torso thorax sinus sinuses airway airways dentition molar
        premolar incisor canine enamel dentin dentine pulp crown filling root canal cavity""",
    "animals": """lobster crab crayfish shrimp prawn crustacean krill barnacle insect beetle ant bee wasp fly butterfly
        moth spider scorpion worm snail slug clam oyster mussel squid octopus jellyfish starfish coral sponge urchin
        fish carp trout salmon shark ray eel frog toad salamander lizard gecko snake turtle tortoise crocodile bird
        chicken duck owl parrot eagle mouse rat rabbit cat dog fox wolf bear horse cow pig sheep goat deer elephant
        whale dolphin seal bat monkey ape claw pincer talon paw hoof horn antler tusk fang beak snout muzzle whisker
        feeler antenna antennae wing feather fur tail fin gill scale shell carapace exoskeleton abdomen thorax leg legs
        rostrum tentacle sucker egg nest cocoon larva pupa chitin meat bacon shellfish armour segment""",
    "machines": """engine motor block casing housing crankcase cylinder bore liner sleeve piston plunger rod conrod
        crank crankshaft camshaft cam valve spring lifter rocker gasket head bolt nut screw washer rivet stud fastener
        thread flywheel gear cog sprocket pulley belt chain bearing bushing axle shaft wheel tyre rim hub spoke brake
        clutch gearbox turbine propeller fan pump compressor radiator hose pipe tube duct manifold exhaust muffler
        carburetor injector filter tank pan sump dipstick plug spark battery alternator starter wire cable connector
        switch sensor circuit chip transistor resistor capacitor coil magnet board bracket plate lid cover handle lever
        knob hinge latch lock key hammer wrench pliers drill saw nail blade knife scissors steel iron aluminium copper
        brass plastic rubber glass ceramic concrete leather paper bottle fire smoke flame""",
    "others": """cup mug plate fork spoon pan kettle jar can box crate basket bag suitcase chair table
        desk bed sofa lamp clock watch mirror window door house bridge tower road car truck bus train bicycle boat ship
        airplane rocket satellite telescope microscope camera phone computer keyboard screen printer book pencil brush
        violin guitar piano drum trumpet flute ball kite toy doll puppet statue sculpture mask helmet hat shoe boot
        glove shirt dress coat ring necklace coin crown sword shield flag map star moon sun planet cloud rain snow ice
        wave river lake sea ocean island mountain volcano desert forest meadow bread cheese cake
        sugar salt rice noodle soup milk coffee tea wine oil soap candle rope net ladder fence wall roof brick tile
        carpet curtain pillow blanket umbrella mummy fossil crystal diamond pearl gold silver""",
}


def broad_nouns() -> tuple[str, ...]:
    """Single nouns of five fields, each once, in a fixed order."""
    return tuple(dict.fromkeys(word for text in _FIELDS.values() for word in text.split()))


def absent_nouns(split: Literal["train", "test"]) -> tuple[str, ...]:
    """Nouns of things that no phantom shows; every third one is kept for tests."""
    nouns = list(dict.fromkeys(_FIELDS["others"].split()))
    tested = nouns[2::3]
    return tuple(tested if split == "test" else (n for n in nouns if n not in tested))


ADJECTIVES = (
    "left", "right", "upper", "lower", "big", "small", "thin", "thick", "round", "long", "hollow", "solid", "hard",
    "soft", "white", "black", "red", "green", "brown", "yellow", "blue", "grey", "orange", "pink", "bony", "wooden",
    "metal", "plastic", "human", "animal", "inner", "outer", "front", "rear", "main",
)  # fmt: skip
"""Words put before nouns in the teacher's phrases."""
