"""An embodiment: a compiled body and everything that other code asks about it by name.

Anything that needs a list of joints, muscles, sites or geoms asks the embodiment; no such list is
repeated elsewhere.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import mujoco
import numpy as np

from sim.couplings import JointCouplings
from sim.mirror import Mirror
from sim.models import MIMIC_SITES, MODEL_NAMES, PHANTOM_INERTIA, build_spec
from sim.muscle_groups import muscle_group, split_side

#: Names of the embodiments.
EMBODIMENTS = tuple(MODEL_NAMES)
#: Control frequency (Hz) and physics time step (s) of both bodies.
CONTROL_HZ = 100.0
TIMESTEP = 0.002
_TOUCH_SENSORS = ("r_foot", "r_toes", "l_foot", "l_toes")
_FOOT_BODIES = {"left": ("calcn_l", "toes_l"), "right": ("calcn_r", "toes_r")}


@dataclass(frozen=True)
class Embodiment:
    """A body to be controlled.

    Attributes:
        name: "fullbody" or "bimanual".
        fingers: whether the fingers have joints and muscles.
        phantom_inertia: of each phantom body of the shoulders about each axis (kg m²).
        model: the compiled model, mimic sites included, Euler integrator at 2 ms.
        mimic_sites: names of the tracked sites; the first is the main site.
        couplings: what drives each dependent joint.
        mirror: the left/right mirror of joints and muscles.
    """

    name: str
    fingers: bool
    phantom_inertia: float
    model: mujoco.MjModel
    mimic_sites: tuple[str, ...]
    couplings: JointCouplings
    mirror: Mirror

    @cached_property
    def has_root(self) -> bool:
        """Whether the first joint is a free root."""
        return self.mirror.has_root

    @cached_property
    def joint_names(self) -> tuple[str, ...]:
        """(njnt,) joint names in model order, the root first where there is one."""
        return tuple(self.model.joint(i).name for i in range(self.model.njnt))

    @cached_property
    def muscle_names(self) -> tuple[str, ...]:
        """(nu,) muscle names in actuator order."""
        return tuple(self.model.actuator(i).name for i in range(self.model.nu))

    @cached_property
    def muscle_groups(self) -> dict[str, np.ndarray]:
        """Muscle indices of each group and side, such as ``"hamstrings_left"``."""
        groups: dict[str, list[int]] = {}
        for index, name in enumerate(self.muscle_names):
            groups.setdefault(f"{muscle_group(name)}_{split_side(name)[1]}", []).append(index)
        return {group: np.array(indices) for group, indices in groups.items()}

    @cached_property
    def site_ids(self) -> np.ndarray:
        """(nsite,) model ids of the mimic sites."""
        return np.array([self.model.site(name).id for name in self.mimic_sites])

    @cached_property
    def site_body_ids(self) -> np.ndarray:
        """(nsite,) ids of the bodies that carry the mimic sites."""
        return self.model.site_bodyid[self.site_ids]

    @cached_property
    def dependent_joints(self) -> tuple[str, ...]:
        """Names of the joints that follow another (or are fixed) by an equality."""
        return tuple(self.joint_names[i] for i in self.model.eq_obj1id)

    @cached_property
    def independent_joints(self) -> tuple[str, ...]:
        """Names of the independent hinge and slide joints, the root left out."""
        dependent = set(self.dependent_joints)
        joints = self.joint_names[1:] if self.has_root else self.joint_names
        return tuple(name for name in joints if name not in dependent)

    @cached_property
    def independent_qpos(self) -> np.ndarray:
        """Addresses in qpos of the independent joints, the root left out."""
        return np.array([self.model.joint(name).qposadr[0] for name in self.independent_joints])

    @cached_property
    def independent_dofs(self) -> np.ndarray:
        """Addresses in qvel of the independent joints, the root left out."""
        return np.array([self.model.joint(name).dofadr[0] for name in self.independent_joints])

    @cached_property
    def foot_geoms(self) -> dict[str, np.ndarray]:
        """Colliding geoms of each foot (heel, sole and toes); empty for a body without feet."""
        model = self.model
        colliding = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
        names = [model.body(i).name for i in range(model.nbody)]
        feet = {}
        for side, bodies in _FOOT_BODIES.items():
            ids = [names.index(body) for body in bodies if body in names]
            feet[side] = np.flatnonzero(np.isin(model.geom_bodyid, ids) & colliding)
        return feet

    @cached_property
    def floor_geom(self) -> int:
        """Id of the ground plane."""
        return self.model.geom("floor").id

    @cached_property
    def touch_sensors(self) -> tuple[str, ...]:
        """Names of the foot touch sensors (N), empty for a body without feet."""
        names = {self.model.sensor(i).name for i in range(self.model.nsensor)}
        return tuple(name for name in _TOUCH_SENSORS if name in names)

    @cached_property
    def touch_addresses(self) -> np.ndarray:
        """Addresses of the touch sensors in sensordata."""
        return np.array([self.model.sensor(name).adr[0] for name in self.touch_sensors], dtype=int)

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hex digits that change with the model: recorded in checkpoints and motions."""
        model = self.model
        digest = hashlib.sha256(repr((self.joint_names, self.muscle_names)).encode())
        of_bodies = ("body_pos", "body_mass", "body_inertia", "jnt_axis", "eq_data", "site_pos")
        for field in (*of_bodies, "wrap_prm", "actuator_gainprm", "actuator_lengthrange"):
            digest.update(_digits(getattr(model, field)))
        return digest.hexdigest()[:12]


def _digits(array: np.ndarray) -> bytes:
    # Six significant digits: a compiler's last bit must not change the fingerprint.
    return " ".join(f"{value:.5e}" for value in array.ravel()).encode()


def load_embodiment(
    name: str, fingers: bool = False, phantom_inertia: float = PHANTOM_INERTIA
) -> Embodiment:
    """Build an embodiment.

    Args:
        name: "fullbody" (MyoFullBody, free root) or "bimanual" (MyoBimanualArm, fixed base).
        fingers: give the digits joints and muscles (416 and 126 muscles; 354 and 64 without).
        phantom_inertia: of each phantom body of the shoulders about each axis (kg m²);
            `sim.models.PUBLISHED_INERTIA` for the body as it was published.

    Raises:
        ValueError: `name` is no embodiment, or `phantom_inertia` is not above 0.
    """
    spec = build_spec(name, fingers, phantom_inertia)
    spec.option.timestep = TIMESTEP
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_EULER
    model = spec.compile()
    return Embodiment(
        name=name,
        fingers=fingers,
        phantom_inertia=phantom_inertia,
        model=model,
        mimic_sites=tuple(site for _, site in MIMIC_SITES[name]),
        couplings=JointCouplings.of(model),
        mirror=Mirror.of(model),
    )
