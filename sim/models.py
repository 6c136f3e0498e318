"""Builds the MuJoCo models of the two bodies from the `musclemimic-models` package.

Edits are made on the `MjSpec` before compilation: fingers removed (the default), the inertia of
phantom bodies set, a muscle that is on the wrong side put on its own, mimic sites added. Counts of
the result are listed in docs/embodiments.md and asserted in the tests.
"""

from __future__ import annotations

import mujoco
import musclemimic_models

#: Registry name in `musclemimic_models` of each embodiment.
MODEL_NAMES = {"fullbody": "myofullbody", "bimanual": "bimanual"}

_ARM_SITES = tuple(
    (f"{body}_{side[0]}", f"{side}_{part}_mimic")
    for side in ("left", "right")
    for body, part in (("humerus", "shoulder"), ("ulna", "elbow"), ("lunate", "hand"))
)
_LEG_SITES = tuple(
    (f"{body}_{side[0]}", f"{side}_{part}_mimic")
    for side in ("left", "right")
    for body, part in (("femur", "hip"), ("tibia", "knee"), ("talus", "ankle"), ("toes", "toes"))
)
#: (body, mimic site) pairs in observation order; the first site is the main one, to which the
#: others are relative.
MIMIC_SITES = {
    "fullbody": (
        ("pelvis", "pelvis_mimic"),
        ("lumbar1", "upper_body_mimic"),
        ("head", "head_mimic"),
        *_ARM_SITES,
        *_LEG_SITES,
    ),
    "bimanual": (("thorax", "upper_body_mimic"), *_ARM_SITES),
}

#: Rotational inertia (kg m²) about each axis of a phantom body: as small as couplings hold by. With
#: the package's, PUBLISHED_INERTIA, a trunk is fifteen times as hard to turn about the spine; it
#: stands for the published body, which is left as it is.
PHANTOM_INERTIA = 0.01
PUBLISHED_INERTIA = 1.0
#: Bodies of 1 g between collar bone and upper arm that only carry joints, one axis after the other.
PHANTOMS = tuple(
    f"{body}_{side}"
    for body in ("clavphant", "scapphant", "humphant", "humphant1")
    for side in "rl"
)

#: A back muscle (longissimus thoracis from the twelfth vertebra) whose left one the package has on
#: the right, on top of its namesake: signs were left out.
_ASTRAY, _NAMESAKE = "LTpT_T12_l", "LTpT_T12_r"

_FINGER_JOINTS = (
    "cmc_flexion",
    "cmc_abduction",
    "mp_flexion",
    "ip_flexion",
    *(f"{joint}{i}_{axis}" for i in range(2, 6) for joint, axis in
      (("mcp", "flexion"), ("mcp", "abduction"), ("pm", "flexion"), ("md", "flexion"))),
)  # fmt: skip
_FINGER_MUSCLES = (
    *(f"{name}{i}" for name in ("FDS", "FDP", "EDC", "RI", "LU_RB", "UI_UB") for i in range(2, 6)),
    "EDM", "EIP", "EPL", "EPB", "FPL", "APL", "OP",
)  # fmt: skip

#: Names of the 40 joints and 62 muscles that fingers add, both sides.
FINGER_JOINTS = frozenset(f"{name}_{side}" for name in _FINGER_JOINTS for side in "rl")
FINGER_MUSCLES = frozenset(name + side for name in _FINGER_MUSCLES for side in ("", "_left"))


def build_spec(
    name: str, fingers: bool = False, phantom_inertia: float = PHANTOM_INERTIA
) -> mujoco.MjSpec:
    """Return the editable specification of an embodiment, mimic sites included.

    Without fingers, the digits stay as rigid bodies with their collision geoms; their joints,
    muscles and tendons are removed. The eight phantoms turn with the trunk, so that what they have
    of inertia is the trunk's and the arms'.

    Args:
        name: a key of `MODEL_NAMES`.
        fingers: whether digits move.
        phantom_inertia: of each phantom (kg m²); PUBLISHED_INERTIA for the published body, with its
            muscle on the wrong side.

    Raises:
        ValueError: `name` is no embodiment, or `phantom_inertia` is not above 0.
    """
    if not phantom_inertia > 0:
        raise ValueError(f"phantom_inertia={phantom_inertia}: expected a number above 0 (kg m²)")
    if name not in MODEL_NAMES:
        raise ValueError(f"unknown embodiment {name!r}: expected one of {sorted(MODEL_NAMES)}")
    spec = mujoco.MjSpec.from_file(str(musclemimic_models.get_xml_path(MODEL_NAMES[name])))
    if not fingers:
        _remove_fingers(spec)
    for phantom in PHANTOMS:
        spec.body(phantom).inertia = [phantom_inertia] * 3
    if phantom_inertia != PUBLISHED_INERTIA:
        _put_on_its_side(spec)
    for body, site in MIMIC_SITES[name]:
        spec.body(body).add_site(
            name=site,
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[0.075, 0.05, 0.025],
            group=4,
        )
    return spec


def _put_on_its_side(spec: mujoco.MjSpec) -> None:
    """Have the path of the muscle that went astray mirror its namesake's; z is to the right."""
    for site in spec.sites:
        if site.name.startswith(_ASTRAY):
            front, up, right = spec.site(site.name.replace(_ASTRAY, _NAMESAKE)).pos
            site.pos = [front, up, -right]


def _remove_fingers(spec: mujoco.MjSpec) -> None:
    muscles = [actuator for actuator in spec.actuators if actuator.name in FINGER_MUSCLES]
    tendon_names = {muscle.target for muscle in muscles}
    tendons = [tendon for tendon in spec.tendons if tendon.name in tendon_names]
    joints = [joint for joint in spec.joints if joint.name in FINGER_JOINTS]
    for element in (*muscles, *tendons, *joints):
        spec.delete(element)
