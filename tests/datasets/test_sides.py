"""Sides in names: what rigs, motion capture, label tools and public sets write, and what only looks like a side."""

import pytest

from keyshift.datasets.depth.sets import HANDS2017, ICVL, ITOP, MSRA, NYU
from keyshift.datasets.own.skeleton_file import KNOWN
from keyshift.datasets.rendered.body_anatomy import UPPER_BODY
from keyshift.datasets.sides import completed, lettered, sides, unnamed

GAIT = "ASI PSI THI KNE TIB ANK HEE TOE FHD BHD SHO ELB WRA WRB FIN".split()  # noqa: SIM905
PAIRED = {
    "glued": "nose leftear-rightear leftpaw-rightpaw tail",
    "lips": "leftLip-rightLip topleftinner-toprightinner bottomleftinner-bottomrightinner topmidinner",
    "fly": "head eyeL-eyeR forelegL1-forelegR1 forelegL2-forelegR2 wingL-wingR thorax",
    "beetle": "paw1LH_tip-paw1RH_tip paw1LF_tip-paw1RF_tip paw2LF-paw2RF",
    "mouse": "paw1LH_top-paw4RH_top paw2LF_top-paw3RF_top tail1_top tail2_top nose_top",
    "dog": "front_left_paw-front_right_paw back_left_knee-back_right_knee mouth_end_left-mouth_end_right tail_base",
    "game": "rig:Hips rig:LeftArm-rig:RightArm mixamorig:LeftHand-mixamorig:RightHand mixamorig:Spine1",
    "blender": "thigh.L.001-thigh.R.001 upper_arm.L-upper_arm.R f_index.01.L-f_index.01.R spine.003",
    "maya": "lf_arm-rt_arm lf_leg-rt_leg root",
    "maya 2": "lt_wing-rt_wing lft_fin-rgt_fin",
    "gait": " ".join(["C7", "T10", "CLAV", "STRN", *(f"L{code}-R{code}" for code in GAIT)]),
    "pelvis": "LASI-RASI SACR",
    "studio": "WaistLFront-WaistRFront LKneeOut-RKneeOut LToeIn-RToeIn HeadTop",
    "suit": "jL5S1 jL4L3 jL1T12 jT1C7 jLeftHip-jRightHip jLeftT4Shoulder-jRightT4Shoulder",
    "kinect": "SpineMid HandLeft-HandRight HandTipLeft-HandTipRight",
    "openpose": "MidHip LShoulder-RShoulder LBigToe-RBigToe LEye-REye LEar-REar",
    "smpl": "Pelvis L_Hip-R_Hip L_Collar-R_Collar Spine1",
    "animals": "L_Eye-R_Eye L_F_Elbow-R_F_Elbow L_B_Elbow-R_B_Elbow TailBase Root_of_tail",
    "horse": "Nose Nearknee-Offknee Nearfrontfoot-Offfrontfoot Nearhindhock-Offhindhock Withers",
    "faces": "LeftEyeLeftCorner-RightEyeRightCorner LeftEyeRightCorner-RightEyeLeftCorner NoseLeft-NoseRight Chin",
    "holistic": "left_eye_(inner)-right_eye_(inner) mouth_(left)-mouth_(right) left_pinky_1-right_pinky_1",
    "clothes": "left_collar-right_collar left_sleeve-right_sleeve waistline_left-waistline_right",
    "limbs": "lf_paw-rf_paw lh_paw-rh_paw nose",
    "corners": "tl-tr bl-br",
    "car": "FL-FR RL-RR",
    "car 2": "F_L-F_R R_L-R_R",
    "car 3": "LF_wheel-RF_wheel LR_wheel-RR_wheel",
    "numbered": "L1-R1 L2-R2 L3-R3 C",
    "in the middle": "Kpt_left_3-Kpt_right_3 hand-l-2-hand-r-2",
    "lower case": "lhip-rhip lknee-rknee lear-rear nose",
    "camel": "EarL-earR lEye-rEye",
    "three letters": "FLP-FRP HLP-HRP nose",
    "words": "linkes_auge-rechtes_auge oeil_gauche-oeil_droit ojo_izquierdo-ojo_derecho occhio_sx-occhio_dx",
    "slavic": "левый_глаз-правый_глаз левая_рука-правая_рука нос lewe_oko-prawe_oko",
    "northern": "vänster_öga-höger_öga venstre_hand-høyre_hand nos",
    "turkish": "sol_goz-sag_goz sol_el-sag_el burun",
    "ships": "port_fin-starboard_fin bow",
    "characters": "左肩-右肩 鼻",
    "most": "leftmost-rightmost cleft_left-cleft_right top",
    "no spaces": "leftEar-right_ear",
    "directions": "mouth_t mouth_b mouth_l-mouth_r",
    "primes": "Pog_L-Pog_R Pog_L'-Pog_R'",
    "sides alone": "left-right top",
}
NOTHING = {
    "words of everyday": "leftover lip rear rump ear tail collar real nose",
    "accidents": "lump rump ear eal tail tair real leal lock rock lip rip",
    "vertebrae": "C7 T1 L1 L2 L3 L4 L5 S1 head",
    "a row of letters": " ".join("p_" + letter for letter in "abcdefghijklmnopqrs"),
    "letters alone": " ".join("ABCDEFGHIJKLMNOPQRS"),
    "upper and lower": "lip_u lip_l nose",
    "jaws": "S N Or Po Go Me Pog Li Ls L1 U1 Al Ar",
    "harbours": "airport_tail port sole lever solar",
    "middle": "nose neck tail_base tail_1 tail_2 bright_spot upright cleft",
    "numbers": "0 1 2 3",
    "fingers": "thumb index middle ring little palm wrist",
}
LONE = {
    "nose paw2LF tail": "paw2LF",
    "left_wrist nose": "left_wrist",
    "foot_l foot_c": "",
    "foot.L nose": "foot.L",
    "leftear nose": "leftear",
    "LSHO RSHO LELB RELB RBAK T10": "RBAK",
    "eyeL eyeR forelegL1 forelegR1 forelegL2": "forelegL2",
    "tl tr bl": "bl",
    "Nearknee Offknee Offhindhock": "Offhindhock",
    "LL LR RL RR": "LL LR RL RR",  # left lower and lower left: each could pair with two
    "左肩 右肩 左手": "左手",
    "rightEye leftEyee": "rightEye leftEyee",
    "LHip nose": "LHip",
}


@pytest.mark.parametrize("words", PAIRED.values(), ids=PAIRED)
@pytest.mark.parametrize("turned", [False, True])
def test_what_pairs(words, turned) -> None:
    listed = words.split()[:: -1 if turned else 1]
    wanted = set()
    for word in listed:
        middle = word.split("-")
        if len(middle) > 1:  # a name may hold dashes itself: both halves have as many
            half = len(middle) // 2
            wanted.add(("-".join(middle[:half]), "-".join(middle[half:])))
    names = [name for word in listed for name in _halves(word)][:: -1 if turned else 1]
    told = sides(names)
    assert {(names[a], names[b]) for a, b in told.pairs} == wanted
    assert told.single == ()
    assert [a for a, _ in told.pairs] == sorted(a for a, _ in told.pairs)


def _halves(word):
    parts = word.split("-")
    half = len(parts) // 2
    return ["-".join(parts[:half]), "-".join(parts[half:])] if half else [word]


@pytest.mark.parametrize("words", NOTHING.values(), ids=NOTHING)
def test_what_is_no_side(words) -> None:
    told = sides(words.split())
    assert (told.pairs, told.single) == ((), ())


@pytest.mark.parametrize(("words", "lone"), LONE.items())
def test_who_has_no_partner(words, lone) -> None:
    names = words.split()
    assert [names[k] for k in sides(names).single] == lone.split()


def test_names_that_differ_by_l_and_r_alone_are_named() -> None:
    names = ["lump", "rump", "lzyg", "rzyg", "nose"]
    assert sides(names).alike == ((0, 1), (2, 3))
    habit = ["lzyg", "rzyg", "leye", "reye", "lfro", "rfro", "nose"]
    assert sides(habit).pairs == ((0, 1), (2, 3), (4, 5))
    assert sides([*habit, "lump", "root", "rim", "lid"]).pairs == ((2, 3),)  # many others begin so


@pytest.mark.parametrize(
    "skeleton", [*KNOWN.values(), UPPER_BODY, NYU, ICVL, MSRA, HANDS2017, ITOP], ids=lambda s: s.name
)
def test_known_skeletons_are_what_their_names_tell(skeleton) -> None:
    told = sides(skeleton.keypoints)
    assert {frozenset(pair) for pair in told.pairs} == {frozenset(pair) for pair in skeleton.flip_pairs}
    assert (told.single, told.alike, skeleton.unpaired) == ((), (), ())


def test_a_row_of_letters() -> None:
    assert lettered(["lip_u", "lip_l", "paw_l", "paw_r"]) == {1}
    assert lettered(["F_L", "F_R", "R_L", "R_R"], all) == set()


def test_numbers_for_names() -> None:
    assert unnamed(["0", "1", "2"]) == ["0", "1", "2"]
    assert unnamed(["kpt-0", "kpt-1", "sss_kpt7", "nose"]) == ["kpt-0", "kpt-1", "sss_kpt7"]
    assert unnamed(["p1", "p2", "tail_1", "tail_2", "spine3"]) == []


def test_what_older_files_held() -> None:
    names = ("nose", "left_ear", "right_ear", "front_left_paw", "front_right_paw", "left_eye")
    assert completed(names, ((1, 2),)) == (((1, 2), (3, 4)), (5,))
    assert completed(names, ((2, 1),)) == (((1, 2), (3, 4)), (5,))
    assert completed(names, ((1, 4),)) == (((1, 4),), (2, 3, 5))  # its own pairs stay


def test_many_names_take_no_time() -> None:
    names = [f"{side}_{part}_{n}" for n in range(100) for part in ("l", "paw") for side in ("left", "right")]
    assert len(sides(names).pairs) == 200
