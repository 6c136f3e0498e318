"""Counts, names and maps of the bodies."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from musclemimic_models import get_xml_path

from cfg import UserError, load_config
from cfg.schema import Config
from mm_torch.build import make_embodiment
from retarget.settings import RetargetConfig
from sim import Embodiment, load_embodiment
from sim.models import MODEL_NAMES, PHANTOM_INERTIA, PHANTOMS, PUBLISHED_INERTIA
from sim.muscle_groups import mirrored_muscle, muscle_group, split_side
from tests.conftest import body

# nq, nv, joints, muscles, tendons, equalities, bodies, geoms, sites, sensors, independent joints
COUNTS = {
    ("fullbody", True): (129, 128, 123, 416, 424, 51, 102, 416, 2021 + 17, 110, 71),
    ("fullbody", False): (89, 88, 83, 354, 362, 51, 102, 416, 2021 + 17, 110, 31),
    ("bimanual", True): (76, 76, 76, 126, 134, 22, 77, 310, 1016 + 7, 106, 54),
    ("bimanual", False): (36, 36, 36, 64, 72, 22, 77, 310, 1016 + 7, 106, 14),
}


@pytest.mark.parametrize(("name", "fingers"), COUNTS)
def test_counts(name: str, fingers: bool) -> None:
    embodiment = body(name, fingers)
    m = embodiment.model
    counts = (m.nq, m.nv, m.njnt, m.nu, m.ntendon, m.neq, m.nbody, m.ngeom, m.nsite, m.nsensor)
    assert (*counts, len(embodiment.independent_joints)) == COUNTS[name, fingers]
    assert m.na == m.nu
    assert m.opt.timestep == 0.002
    assert m.opt.integrator == mujoco.mjtIntegrator.mjINT_EULER


def test_mass() -> None:
    assert body("fullbody").model.body_mass.sum() == pytest.approx(84.27, abs=0.01)
    assert body("bimanual").model.body_mass.sum() == pytest.approx(16.53, abs=0.01)


def test_muscle_time_constants(fullbody: Embodiment) -> None:
    constants = fullbody.model.actuator_dynprm[:, :2]
    torso = np.isclose(constants, [0.015, 0.050]).all(axis=1)
    limbs = np.isclose(constants, [0.010, 0.040]).all(axis=1)
    assert torso.sum() == 210
    assert limbs.sum() == 144


def test_unknown_embodiment() -> None:
    with pytest.raises(ValueError, match="unknown embodiment 'legs'"):
        load_embodiment("legs")


def test_mimic_sites_sit_on_their_bodies(embodiment: Embodiment) -> None:
    assert len(embodiment.mimic_sites) == {"fullbody": 17, "bimanual": 7}[embodiment.name]
    model = embodiment.model
    assert np.all(model.site_pos[embodiment.site_ids] == 0)
    pairs = dict(
        zip(
            embodiment.mimic_sites,
            (model.body(i).name for i in embodiment.site_body_ids),
            strict=True,
        )
    )
    assert pairs["left_hand_mimic"] == "lunate_l"
    assert pairs["right_elbow_mimic"] == "ulna_r"


def test_feet_and_touch(fullbody: Embodiment, bimanual: Embodiment) -> None:
    assert fullbody.touch_sensors == ("r_foot", "r_toes", "l_foot", "l_toes")
    assert {side: len(geoms) for side, geoms in fullbody.foot_geoms.items()} == {
        "left": 5,
        "right": 5,
    }
    assert not bimanual.touch_sensors
    assert not any(len(geoms) for geoms in bimanual.foot_geoms.values())


def test_every_muscle_has_a_group_and_a_partner() -> None:
    for name in ("fullbody", "bimanual"):
        embodiment = body(name, fingers=True)
        grouped = np.concatenate(list(embodiment.muscle_groups.values()))
        assert sorted(grouped) == list(range(embodiment.model.nu))
        names = set(embodiment.muscle_names)
        for muscle in names:
            assert mirrored_muscle(muscle) in names
            assert mirrored_muscle(mirrored_muscle(muscle)) == muscle
            assert split_side(muscle)[1] != split_side(mirrored_muscle(muscle))[1]
            assert muscle_group(muscle) == muscle_group(mirrored_muscle(muscle))


def test_groups_are_what_anatomy_says(fullbody: Embodiment) -> None:
    groups = fullbody.muscle_groups
    names = np.array(fullbody.muscle_names)
    assert set(names[groups["quadriceps_left"]]) == {"recfem_l", "vasint_l", "vaslat_l", "vasmed_l"}
    assert set(names[groups["hamstrings_right"]]) == {"bflh_r", "bfsh_r", "semimem_r", "semiten_r"}
    assert set(names[groups["deltoid_left"]]) == {"DELT1_left", "DELT2_left", "DELT3_left"}


def test_unknown_muscle_name() -> None:
    with pytest.raises(KeyError, match="belongs to no group"):
        muscle_group("widget_r")


def _random_pose(embodiment: Embodiment, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    qpos = embodiment.model.qpos0.copy()
    low, high = embodiment.model.jnt_range[
        [embodiment.model.joint(name).id for name in embodiment.independent_joints]
    ].T
    qpos[embodiment.independent_qpos] = rng.uniform(low, high)
    if embodiment.has_root:
        qpos[:3] = rng.normal(size=3)
        qpos[3:7] = rng.normal(size=4)
        qpos[3:7] /= np.linalg.norm(qpos[3:7])
    return embodiment.couplings.complete_qpos(qpos)


def test_couplings_satisfy_mujocos_equalities(embodiment: Embodiment) -> None:
    data = mujoco.MjData(embodiment.model)
    for seed in range(5):
        data.qpos[:] = _random_pose(embodiment, seed)
        mujoco.mj_forward(embodiment.model, data)
        rows = data.efc_type == mujoco.mjtConstraint.mjCNSTR_EQUALITY
        assert rows.sum() == embodiment.model.neq
        assert np.abs(data.efc_pos[rows]).max() < 1e-9


def test_coupling_slopes_match_finite_differences(embodiment: Embodiment) -> None:
    couplings, step = embodiment.couplings, 1e-6
    qpos = _random_pose(embodiment, 3)
    rng = np.random.default_rng(0)
    qvel = rng.normal(size=embodiment.model.nv)
    ahead, behind = qpos.copy(), qpos.copy()
    mujoco.mj_integratePos(embodiment.model, ahead, qvel, step)
    mujoco.mj_integratePos(embodiment.model, behind, qvel, -step)
    expected = (couplings.positions(ahead) - couplings.positions(behind)) / (2 * step)
    completed = couplings.complete_qvel(qpos, qvel)[couplings.dof_adr]
    np.testing.assert_allclose(completed, expected, atol=1e-7)


def test_mirror_twice_is_identity(embodiment: Embodiment) -> None:
    mirror, qpos = embodiment.mirror, _random_pose(embodiment, 1)
    np.testing.assert_allclose(mirror.qpos(mirror.qpos(qpos)), qpos, atol=1e-12)
    values = np.arange(embodiment.model.nu)
    np.testing.assert_array_equal(mirror.muscles(mirror.muscles(values)), values)


def test_mirrored_pose_puts_sites_at_mirrored_places(embodiment: Embodiment) -> None:
    """The image of a pose has its left sites where the right ones were, reflected in x."""
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    sites = list(embodiment.mimic_sites)
    swapped = [
        sites.index(s.replace("left", "?").replace("right", "left").replace("?", "right"))
        for s in sites
    ]
    reflect = np.array([-1.0, 1.0, 1.0])
    for seed in range(3):
        qpos = _random_pose(embodiment, seed)
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        original = data.site_xpos[embodiment.site_ids].copy()
        data.qpos[:] = embodiment.mirror.qpos(qpos)
        mujoco.mj_kinematics(model, data)
        image = data.site_xpos[embodiment.site_ids]
        relative = (original - original[0])[swapped] * reflect
        # The models' two sides differ by millimetres in places.
        np.testing.assert_allclose(image - image[0], relative, atol=0.02)


def test_mirrored_muscle_lengths_agree(embodiment: Embodiment) -> None:
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    data.qpos[:] = embodiment.couplings.complete_qpos(model.qpos0)
    mujoco.mj_fwdPosition(model, data)
    length = data.actuator_length.copy()
    mirrored = embodiment.mirror.muscles(length)
    relative = np.abs(length - mirrored) / length
    assert np.median(relative) < 1e-3
    assert np.quantile(relative, 0.95) < 0.05


@pytest.mark.parametrize(("name", "fingers"), COUNTS)
def test_muscles_are_mirror_images_in_any_pose(name: str, fingers: bool) -> None:
    """Lengths and moment arms of each muscle are its namesake's on the other side."""
    embodiment = body(name, fingers)
    mirror = embodiment.mirror
    for seed in range(3):
        qpos = _random_pose(embodiment, seed)
        length, moment = _muscles(embodiment, qpos)
        image_length, image_moment = _muscles(embodiment, mirror.qpos(qpos))
        muscles = np.array(embodiment.muscle_names)
        longer = np.abs(mirror.muscles(length) - image_length)
        mirrored = (mirror.qvel_sign * moment[:, mirror.qvel_source])[mirror.muscle_source]
        further = np.abs(mirrored - image_moment).max(1)
        assert longer.max() < 1e-5, muscles[longer > 1e-5]  # m
        assert further.max() < 1e-4, muscles[further > 1e-4]


def test_a_back_muscle_is_on_its_own_side(fullbody: Embodiment) -> None:
    """The package has the left LTpT_T12 on the right; the published body is left as it is."""
    published = body("fullbody", phantom_inertia=PUBLISHED_INERTIA)
    for embodiment, left in ((fullbody, True), (published, False)):
        model = embodiment.model
        _, moment = _muscles(embodiment, embodiment.couplings.complete_qpos(model.qpos0))
        bending = moment[:, model.jnt_dofadr[model.joint("lat_bending").id]]
        own, namesake = (bending[model.actuator(f"LTpT_T12_{side}").id] for side in "lr")
        assert abs(namesake) > 0.01  # m
        assert own == pytest.approx(-namesake if left else namesake, rel=1e-3)


def _muscles(embodiment: Embodiment, qpos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths (nu,) and moment arms (nu, nv)."""
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    data.qpos[:] = qpos
    mujoco.mj_fwdPosition(model, data)
    moment = np.zeros((model.nu, model.nv))
    mujoco.mju_sparse2dense(
        moment, data.actuator_moment, data.moment_rownnz, data.moment_rowadr, data.moment_colind
    )
    return data.actuator_length.copy(), moment


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_phantoms_are_joints_without_a_body(name: str) -> None:
    """What they weigh is the package's, what they resist turning by is ours."""
    published = mujoco.MjModel.from_xml_path(str(get_xml_path(MODEL_NAMES[name])))
    model = body(name).model
    for i in range(model.nbody):
        own, there = model.body(i), published.body(model.body(i).name)
        if own.name in PHANTOMS:
            np.testing.assert_allclose(there.inertia, PUBLISHED_INERTIA)
            np.testing.assert_allclose(own.inertia, PHANTOM_INERTIA)
            assert own.mass[0] == there.mass[0] == pytest.approx(0.001)
            assert not (model.geom_contype[model.geom_bodyid == i] != 0).any()
        else:
            np.testing.assert_allclose(own.inertia, there.inertia, rtol=1e-6, err_msg=own.name)
    assert {model.body(i).name for i in range(model.nbody)} >= set(PHANTOMS)
    # No other body is as hard to turn as if its mass were a metre away.
    heavy = model.body_mass > 0.01
    assert (model.body_inertia[heavy].max(1) < model.body_mass[heavy] * 0.2**2).all()


def test_a_body_turns_as_easily_as_a_person(fullbody: Embodiment) -> None:
    """Upright, about the vertical: of the order of 1 kg m², not of 10."""
    for embodiment, lowest, highest in (
        (fullbody, 1.0, 2.0),
        (body("fullbody", phantom_inertia=PUBLISHED_INERTIA), 9.0, 10.0),
    ):
        model, data = embodiment.model, mujoco.MjData(embodiment.model)
        data.qpos[:] = embodiment.couplings.complete_qpos(model.qpos0)
        mujoco.mj_forward(model, data)
        inertia = np.zeros((model.nv, model.nv))
        mujoco.mj_fullM(model, data, inertia)
        assert lowest < inertia[5, 5] < highest


def test_couplings_hold_as_with_the_published_inertia() -> None:
    """Under random excitations; they are rows of the solver, and light bodies are harder on it."""
    worst = []
    for phantom_inertia in (PUBLISHED_INERTIA, PHANTOM_INERTIA):
        model = body("bimanual", phantom_inertia=phantom_inertia).model
        data, rng = mujoco.MjData(model), np.random.default_rng(0)
        off = 0.0
        for step in range(1500):
            if step % 5 == 0:
                data.ctrl[:] = rng.uniform(size=model.nu)
            mujoco.mj_step(model, data)
            coupling = data.efc_type == mujoco.mjtConstraint.mjCNSTR_EQUALITY
            off = max(off, float(np.abs(data.efc_pos[coupling]).max()))
        assert np.isfinite(data.qpos).all() and not data.warning.number.any()
        worst.append(off)
    assert worst[1] < 1.2 * worst[0], worst


def test_phantom_inertia_is_the_same_everywhere() -> None:
    assert Config().phantom_inertia == RetargetConfig().phantom_inertia == PHANTOM_INERTIA
    assert load_config(["cfg=demo", "mdp=musclemimic"]).phantom_inertia == PUBLISHED_INERTIA
    config = load_config(["cfg=demo", "phantom_inertia=0.5"])
    assert make_embodiment(config).model.body("humphant_r").inertia[0] == pytest.approx(0.5)
    with pytest.raises(UserError, match=r"phantom_inertia=0\.0: expected"):
        load_config(["cfg=demo", "phantom_inertia=0"])
    with pytest.raises(ValueError, match="phantom_inertia=0: expected"):
        load_embodiment("bimanual", phantom_inertia=0)


def test_fingerprint_tells_bodies_apart() -> None:
    prints = {body(name, fingers).fingerprint for name, fingers in COUNTS}
    assert len(prints) == 4
    prints.add(body("bimanual", phantom_inertia=PUBLISHED_INERTIA).fingerprint)
    assert len(prints) == 5
    assert all(len(p) == 12 for p in prints)
