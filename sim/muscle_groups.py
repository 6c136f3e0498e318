"""Readable muscle groups, by muscle name.

Names follow the source models: MyoTorso, MyoArm and MyoLegs. A muscle belongs to exactly one group;
the side is kept apart, so that `hamstrings` of either leg are found by group and side.
"""

from __future__ import annotations

import re

# Pattern (matched from the start of the name without its side suffix) -> group. First match wins.
_PATTERNS: tuple[tuple[str, str], ...] = (
    (r"Ps_|psoas|iliacus", "iliopsoas"),
    (r"rect_abd", "rectus_abdominis"),
    (r"IL_", "iliocostalis"),
    (r"LTp[TL]_", "longissimus"),
    (r"QL_", "quadratus_lumborum"),
    (r"MF_", "multifidus"),
    (r"EO\d", "external_oblique"),
    (r"IO\d", "internal_oblique"),
    (r"DELT", "deltoid"),
    (r"SUPSP|INFSP|SUBSC|TMIN", "rotator_cuff"),
    (r"TMAJ|LAT\d", "latissimus_teres"),
    (r"PECM", "pectoralis"),
    (r"TRI|ANC", "triceps"),
    (r"BIC|BRA|BRD|CORB", "elbow_flexors"),
    (r"SUP$|PT$|PQ$", "forearm_rotators"),
    (r"ECR[LB]|ECU", "wrist_extensors"),
    (r"FC[RU]|PL$", "wrist_flexors"),
    (r"FD[SP]\d|FPL", "finger_flexors"),
    (r"EDC\d|EDM|EIP|EPL|EPB|APL", "finger_extensors"),
    (r"RI\d|LU_RB\d|UI_UB\d|OP$", "hand_intrinsics"),
    (r"add|grac", "hip_adductors"),
    (r"bf[ls]h|semi", "hamstrings"),
    (r"glmax", "gluteus_maximus"),
    (r"glm(ed|in)|tfl|piri", "hip_abductors"),
    (r"recfem|vas", "quadriceps"),
    (r"sart", "sartorius"),
    (r"gas", "gastrocnemius"),
    (r"soleus", "soleus"),
    (r"tibant|edl|ehl", "dorsiflexors"),
    (r"per", "peroneals"),
    (r"tibpost|fdl|fhl", "deep_plantarflexors"),
)


def split_side(name: str) -> tuple[str, str]:
    """Split a muscle name into its base and side: ``'soleus_r' -> ('soleus', 'right')``.

    Arm muscles carry no suffix on the right and `_left` on the left.
    """
    for suffix, side in (("_left", "left"), ("_l", "left"), ("_r", "right")):
        if name.endswith(suffix):
            return name.removesuffix(suffix), side
    return name, "right"


def muscle_group(name: str) -> str:
    """Return the group of a muscle, such as ``hamstrings``.

    Raises:
        KeyError: the name belongs to no group (a model that this table does not know).
    """
    base, _ = split_side(name)
    for pattern, group in _PATTERNS:
        if re.match(pattern, base):
            return group
    raise KeyError(f"muscle {name!r} belongs to no group: add its pattern to sim/muscle_groups.py")


def mirrored_muscle(name: str) -> str:
    """Return the name of the same muscle on the other side."""
    if name.endswith("_left"):
        return name.removesuffix("_left")
    if name.endswith("_l"):
        return name.removesuffix("_l") + "_r"
    if name.endswith("_r"):
        return name.removesuffix("_r") + "_l"
    return name + "_left"
