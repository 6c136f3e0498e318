"""The lean model: an embodiment's physics without what is only there to be seen or read.

A simulator computes the pose of every geom and site and the value of every sensor of its model, for
each world. Of the two bodies' geoms and sites a large part are bone meshes and markers, and no
sensor but the feet's is read: they are left out, with meshes, materials, cameras, lights and
keyframes. What is left is numbered anew where that is unavoidable (geoms, sites, sensors), and in
the order of the full model everywhere: bodies, joints, dofs, muscles, tendons and equalities keep
their ids.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from functools import cache

import mujoco
import numpy as np

from sim.embodiment import Embodiment
from sim.models import build_spec

# Sections of an XML model that the physics does not read.
_DISPLAY_SECTIONS = ("visual", "statistic", "keyframe")
_DISPLAY_ELEMENTS = ("camera", "light")
# Prefixes of the arrays of `MjModel` by the kind of element their rows belong to.
_PREFIXES = {
    "body": "nbody",
    "jnt": "njnt",
    "dof": "nv",
    "geom": "ngeom",
    "site": "nsite",
    "sensor": "nsensor",
    "tendon": "ntendon",
    "actuator": "nu",
    "eq": "neq",
    "pair": "npair",
}
# Integers of kept elements that change: what refers to display elements, counts or addresses what
# is left out, or (checked on their own) refers to what is numbered anew.
_CHANGED = frozenset(
    (
        "body_geomnum", "body_geomadr", "body_bvhnum", "body_bvhadr", "geom_matid", "geom_dataid",
        "site_matid", "tendon_matid", "sensor_adr", "sensor_objid", "pair_geom1", "pair_geom2",
    )
)  # fmt: skip
_GEOM_WRAPS = (mujoco.mjtWrap.mjWRAP_SPHERE, mujoco.mjtWrap.mjWRAP_CYLINDER)


@dataclass(frozen=True)
class Kept:
    """What of a full model stays.

    Attributes:
        geoms: (k,) ids of the geoms that collide or that tendons wrap around, ascending.
        sites: (m,) ids of the sites on tendon paths, of the side sites of wrapped geoms, of the
            mimic sites and of the sites of kept sensors, ascending.
        sensors: (s,) ids of the sensors that are read, ascending.
    """

    geoms: np.ndarray
    sites: np.ndarray
    sensors: np.ndarray


def kept_elements(embodiment: Embodiment) -> Kept:
    """Return which geoms, sites and sensors of an embodiment its physics and its task need."""
    model = embodiment.model
    geoms = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    geoms[model.pair_geom1] = geoms[model.pair_geom2] = True
    around = np.isin(model.wrap_type, _GEOM_WRAPS)
    geoms[model.wrap_objid[around]] = True
    sensors = np.zeros(model.nsensor, dtype=bool)
    sensors[[model.sensor(name).id for name in embodiment.touch_sensors]] = True
    sites = np.zeros(model.nsite, dtype=bool)
    sites[embodiment.site_ids] = True
    sites[model.wrap_objid[model.wrap_type == mujoco.mjtWrap.mjWRAP_SITE]] = True
    sides = model.wrap_prm[around].astype(int)  # -1 where a wrapped geom has no side site
    sites[sides[sides >= 0]] = True
    on_site = model.sensor_objtype == mujoco.mjtObj.mjOBJ_SITE
    sites[model.sensor_objid[sensors & on_site]] = True
    return Kept(*(np.flatnonzero(mask) for mask in (geoms, sites, sensors)))


def lean_model(embodiment: Embodiment) -> mujoco.MjModel:
    """Return a model with the embodiment's physics and without what only displays it.

    One step of it gives the state, forces and touch values of the full model up to rounding. Every
    floating-point number of what is kept is taken from the embodiment's own model: masses and
    inertias, also those that MuJoCo infers from geoms that are left out, are exactly the same.

    Raises:
        ValueError: the embodiment's model is not what its name compiles to (it was edited after
            compilation in more than floating-point numbers), or it collides by meshes.
    """
    full, kept = embodiment.model, kept_elements(embodiment)
    meshes = (mujoco.mjtGeom.mjGEOM_MESH, mujoco.mjtGeom.mjGEOM_HFIELD, mujoco.mjtGeom.mjGEOM_SDF)
    if np.isin(full.geom_type[kept.geoms], meshes).any():
        raise _unlike(embodiment, "geom_type", "geoms that collide or are wrapped are no meshes")
    root = ElementTree.fromstring(
        _full_xml(embodiment.name, embodiment.fingers, embodiment.phantom_inertia)
    )
    _strip(root, embodiment, kept)
    text = ElementTree.tostring(root, encoding="unicode")
    lean = mujoco.MjSpec.from_string(text).compile()
    _check_references(lean, embodiment, kept)
    _take_values(lean, embodiment, kept)
    return lean


@cache
def _full_xml(name: str, fingers: bool, phantom_inertia: float) -> str:
    """Return the XML of a full model, inertias included; building it takes seconds.

    XML because `MjSpec.delete` takes milliseconds for each of the thousand elements to remove.
    """
    spec = build_spec(name, fingers, phantom_inertia)
    # Display geoms are gone when the lean model is compiled: bodies whose inertia MuJoCo infers
    # from them need it written down.
    spec.compiler.saveinertial = True
    spec.compile()
    return spec.to_xml()


def _unlike(embodiment: Embodiment, field: str, expected: str) -> ValueError:
    return ValueError(
        f"no lean model of {embodiment.name}: {field} of its model is not as expected "
        f"({expected}): set sim.lean=false, or edit the model before it is compiled"
    )


def _strip(root: ElementTree.Element, embodiment: Embodiment, kept: Kept) -> None:
    """Remove from an XML model, in place, everything that is only displayed or not read."""
    full, world, sensor = embodiment.model, root.find("worldbody"), root.find("sensor")
    doomed: set[ElementTree.Element] = set()
    for kind, elements, ids in (
        # XML lists the elements of a body before its children, as the compiled model does.
        ("geom", list(world.iter("geom")), kept.geoms),
        ("site", list(world.iter("site")), kept.sites),
        ("sensor", [] if sensor is None else list(sensor), kept.sensors),
    ):
        names = [getattr(full, kind)(i).name for i in range(getattr(full, f"n{kind}"))]
        if [element.get("name", "") for element in elements] != names:
            raise _unlike(embodiment, f"names of {kind}s", "those that its name compiles to")
        doomed |= set(elements) - {elements[i] for i in ids}
    doomed |= {element for tag in _DISPLAY_ELEMENTS for element in world.iter(tag)}
    doomed |= {element for tag in _DISPLAY_SECTIONS for element in root.findall(tag)}
    doomed |= set(root.findall("asset"))
    for sizes in root.findall("size"):
        sizes.attrib.pop("nkey", None)
    for parent in list(root.iter()):
        # No asset is left to refer to.
        parent.attrib.pop("material", None)
        for child in [child for child in parent if child in doomed]:
            parent.remove(child)


def _renumbering(size: int, ids: np.ndarray) -> np.ndarray:
    """Return (size,) new ids of old elements; -1 where an element is left out."""
    new = np.full(size, -1)
    new[ids] = np.arange(len(ids))
    return new


def _check_references(lean: mujoco.MjModel, embodiment: Embodiment, kept: Kept) -> None:
    """Assert that what refers to a geom or a site refers to the same one as before."""
    full = embodiment.model
    geom, site = _renumbering(full.ngeom, kept.geoms), _renumbering(full.nsite, kept.sites)
    around = np.isin(full.wrap_type, _GEOM_WRAPS)
    on_path = full.wrap_type == mujoco.mjtWrap.mjWRAP_SITE
    objects, parameters = full.wrap_objid.copy(), full.wrap_prm.copy()
    objects[around], objects[on_path] = geom[objects[around]], site[objects[on_path]]
    sided = around & (parameters >= 0)
    parameters[sided] = site[parameters[sided].astype(int)]
    observed = full.sensor_objid[kept.sensors].copy()
    on_site = full.sensor_objtype[kept.sensors] == mujoco.mjtObj.mjOBJ_SITE
    observed[on_site] = site[observed[on_site]]
    expected = {
        "wrap_type": full.wrap_type,
        "wrap_objid": objects,
        "wrap_prm": parameters,
        "pair_geom1": geom[full.pair_geom1],
        "pair_geom2": geom[full.pair_geom2],
        "sensor_objid": observed,
        "exclude_signature": full.exclude_signature,
    }
    for name, value in expected.items():
        if not np.array_equal(getattr(lean, name), value):
            raise _unlike(embodiment, name, "that of the lean model")


def _take_values(lean: mujoco.MjModel, embodiment: Embodiment, kept: Kept) -> None:
    """Copy the floats of everything kept from the full model; assert that the integers agree."""
    full = embodiment.model
    ids = {"geom": kept.geoms, "site": kept.sites, "sensor": kept.sensors}
    for name in dir(full):
        prefix = name.partition("_")[0]
        value = getattr(full, name) if prefix in _PREFIXES else None
        size = getattr(full, _PREFIXES.get(prefix, ""), None)
        if not isinstance(value, np.ndarray) or len(value) != size or name in _CHANGED:
            continue
        value, target = value[ids.get(prefix, slice(None))], getattr(lean, name)
        if value.shape != target.shape:
            raise _unlike(embodiment, name, f"{target.shape[0]} rows")
        if value.dtype.kind == "f":
            target[:] = value
        elif not np.array_equal(value, target):
            raise _unlike(embodiment, name, "the integers that its name compiles to")
    lean.qpos0[:], lean.qpos_spring[:] = full.qpos0, full.qpos_spring
    # The solver's tolerance is scaled by the mean inertia; the options are the embodiment's.
    for target, source in ((lean.stat, full.stat), (lean.opt, full.opt)):
        for name in dir(source):
            value = None if name.startswith("_") else getattr(source, name)
            if isinstance(value, np.ndarray):
                getattr(target, name)[:] = value
            elif isinstance(value, (int, float)):
                setattr(target, name, value)
