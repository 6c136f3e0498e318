from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch

from retarget.clearance import lowest_heights, raise_above_floor
from retarget.motion_set import load_motion_set
from retarget.solve import Solver
from retarget.solve_options import SolveOptions
from retarget.tracks import LEAST_ELEVATION, TWIST, track_frames, tracks
from sim.independent import IndependentCoordinates, joint_limits
from sim.kinematics import Kinematics
from sim.static_optimization import held_range
from tests.conftest import ROOT, body

EXACT = SolveOptions(contact=False, smoothing_hz=float("inf"), neutral=0.0, last_steps=6)


def demo(name, clip=0, frames=slice(None)):
    embodiment = body(name, False)
    motion = load_motion_set(ROOT / "data" / "demo" / name, embodiment)[clip]
    return embodiment, motion.qpos[frames]


def targets(embodiment, qpos):
    """Where a motion puts the tracked frames."""
    kinematics = Kinematics(embodiment.model, track_frames(embodiment))
    return kinematics(torch.as_tensor(embodiment.couplings.complete_qpos(qpos)))


def solved_qpos(embodiment, solution):
    return IndependentCoordinates(embodiment).qpos(solution.joints, solution.root).numpy()


@pytest.mark.parametrize("name", ["fullbody", "bimanual"])
def test_every_mimic_site_has_a_track(name):
    embodiment = body(name, False)
    follows = tracks(embodiment)
    sites = [track.frame for track in follows if track.is_site]
    assert tuple(sites) == embodiment.mimic_sites
    assert len(track_frames(embodiment)) == len(follows)
    weight = {track.frame: (track.position, track.orientation) for track in follows}
    for frame, value in weight.items():
        if frame.startswith("left_"):
            assert weight[frame.replace("left_", "right_")] == value


@pytest.mark.parametrize("name", ["fullbody", "bimanual"])
def test_a_motion_of_the_body_itself_is_found_again(name):
    embodiment, qpos = demo(name, frames=slice(0, 160))
    wanted = targets(embodiment, qpos)
    solution = Solver(embodiment, EXACT, dtype=torch.float64).solve([wanted], 100.0)[0]
    found = solved_qpos(embodiment, solution)
    reached, _ = targets(embodiment, found)
    sites = len(embodiment.mimic_sites)
    error = (reached - wanted[0])[:, :sites].norm(dim=-1)
    # The demo's arms hang lower than the least elevation allows.
    assert error.mean() < 5e-4 and error.max() < 0.02
    assert np.abs(embodiment.couplings.residual(found)).max() < 1e-12
    lower, upper = joint_limits(embodiment)
    joints = found[:, embodiment.independent_qpos]
    assert (joints >= lower - 1e-9).all() and (joints <= upper + 1e-9).all()
    for column, joint in enumerate(embodiment.independent_joints):
        if joint.startswith("shoulder_elv"):
            assert joints[:, column].min() >= LEAST_ELEVATION - 1e-6


def test_a_trunk_is_turned_as_far_as_its_muscles_hold_it():
    """Shoulders and hips stay where they were asked for: other joints turn instead."""
    embodiment, qpos = demo("fullbody", frames=slice(0, 40))
    qpos = qpos.copy()
    twist = embodiment.model.joint(TWIST).qposadr[0]
    qpos[:, twist] = 0.5
    wanted = targets(embodiment, qpos)
    low, high = held_range(embodiment, TWIST, EXACT.twist_effort)
    turned, errors = [], []
    for effort in (EXACT.twist_effort, 10.0):
        options = replace(EXACT, twist_effort=effort)
        solution = Solver(embodiment, options, dtype=torch.float64).solve([wanted], 100.0)[0]
        found = solved_qpos(embodiment, solution)
        turned.append(found[:, twist])
        reached, _ = targets(embodiment, found)
        sites = len(embodiment.mimic_sites)
        errors.append(float((reached - wanted[0])[:, :sites].norm(dim=-1).mean()))
    assert low < 0 < high < 0.3
    np.testing.assert_allclose(turned[0], high, atol=1e-6)
    np.testing.assert_allclose(turned[1], 0.5, atol=1e-3)
    # A quarter of a radian less over half a metre from the spine to the hands would be 12 cm.
    assert errors[1] < 1e-3 < errors[0] < 0.03, errors


def test_clips_solved_together_are_as_if_alone():
    embodiment, qpos = demo("bimanual", frames=slice(0, 120))
    _, other = demo("bimanual", clip=1, frames=slice(0, 75))
    first, second = targets(embodiment, qpos), targets(embodiment, other)
    solver = Solver(embodiment, dtype=torch.float64)
    together = solver.solve([first, second], 100.0)
    alone = [solver.solve([clip], 100.0)[0] for clip in (first, second)]
    for a, b in zip(together, alone, strict=True):
        # The stiffness comes from all clips' mean curvature, hence not to the last digit.
        assert float((a.joints - b.joints).abs().max()) < 0.02


def test_noise_is_smoothed_and_motion_is_not():
    embodiment, qpos = demo("bimanual", frames=slice(0, 300))
    position, rotation = targets(embodiment, qpos)
    generator = torch.Generator().manual_seed(0)
    noise = 0.004 * torch.randn(position.shape, generator=generator, dtype=torch.float64)
    clean = Solver(embodiment, EXACT).solve([(position, rotation)], 100.0)[0].joints
    solver = Solver(embodiment, SolveOptions(contact=False))
    smooth = solver.solve([(position + noise, rotation)], 100.0)[0].joints
    rough = Solver(embodiment, EXACT).solve([(position + noise, rotation)], 100.0)[0].joints

    def acceleration(joints):
        return (joints[2:] - 2 * joints[1:-1] + joints[:-2]).pow(2).mean().sqrt()

    assert acceleration(smooth) < 0.25 * acceleration(rough)
    assert (smooth - clean).pow(2).mean() < (rough - clean).pow(2).mean()
    assert (smooth - clean).abs().mean() < 0.03


@pytest.mark.parametrize("frequency, low, high", [(2.0, 0.97, 1.02), (8.0, 0.35, 0.65)])
def test_smoothing_frequency_is_where_motion_is_halved(frequency, low, high):
    # One elbow swings in a sine around mid-range; weights of the others keep it company.
    embodiment = body("bimanual", False)
    t = np.arange(300) / 100
    qpos = np.tile(embodiment.model.qpos0, (300, 1))
    for side in "lr":
        qpos[:, embodiment.model.joint(f"shoulder_elv_{side}").qposadr[0]] = 1.2
        qpos[:, embodiment.model.joint(f"elbow_flex_{side}").qposadr[0]] = 1.0
    swing = embodiment.model.joint("shoulder_elv_r").qposadr[0]
    qpos[:, swing] += 0.1 * np.sin(2 * np.pi * frequency * t)
    solver = Solver(embodiment, SolveOptions(contact=False, smoothing_hz=8.0, last_steps=8))
    solution = solver.solve([targets(embodiment, qpos)], 100.0)[0]
    found = solved_qpos(embodiment, solution)[50:-50, swing]
    gain = (found.max() - found.min()) / 0.2
    assert low < gain < high


def test_standing_feet_are_put_on_the_floor_and_stay():
    embodiment, qpos = demo("fullbody", frames=slice(0, 200))
    rng = np.random.default_rng(0)
    qpos = qpos.copy()
    qpos[:, 2] += 0.07  # a floor that is elsewhere
    qpos[:, 0] += 0.004 * np.sin(np.arange(200) / 3.0)  # skating
    qpos[:, 2] += 0.003 * rng.normal(size=200)
    solution = Solver(embodiment).solve([targets(embodiment, qpos)], 100.0)[0]
    found = raise_above_floor(embodiment, solved_qpos(embodiment, solution), 100.0)
    low = lowest_heights(embodiment, found)
    assert low.min() > -1e-3
    standing = solution.standing.any(1)
    assert standing.mean() > 0.8  # somebody who walks is seldom in the air
    assert low[standing].max() < 0.01
    # Both feet take their turn.
    share = solution.standing.mean(0)
    assert (share > 0.2).all() and (share < 0.95).all()
    # Where the foot is flat on the ground, the heel's body does not slide.
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    place = np.empty((len(found), 3))
    for frame, pose in enumerate(found):
        data.qpos[:] = pose
        mujoco.mj_kinematics(model, data)
        place[frame] = data.body("calcn_l").xpos
    flat = solution.standing[1:, :2].all(1) & solution.standing[:-1, :2].all(1)
    speed = np.linalg.norm(np.diff(place[:, :2], axis=0), axis=1) * 100
    assert flat.sum() > 20 and np.median(speed[flat]) < 0.05


def test_raising_clears_the_floor_smoothly():
    embodiment = body("fullbody", False)
    qpos = np.tile(embodiment.model.qpos0, (120, 1))
    qpos[:, 2] -= lowest_heights(embodiment, qpos[:1])[0]
    assert raise_above_floor(embodiment, qpos, 100.0) is qpos
    qpos[60, 2] -= 0.01
    raised = raise_above_floor(embodiment, qpos, 100.0)
    assert lowest_heights(embodiment, raised).min() > -3e-4
    lift = raised[:, 2] - qpos[:, 2]
    assert lift[60] == pytest.approx(0.01, abs=3e-4) and lift[30] == 0 and lift[90] == 0
    assert np.abs(np.diff(lift, 2)).max() < 0.0006  # no jolt: 1 cm over 0.16 s


def test_lowest_height_is_mujocos():
    embodiment = body("fullbody", False)
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    rng = np.random.default_rng(0)
    qpos = np.tile(model.qpos0, (5, 1))
    qpos[:, embodiment.independent_qpos] += rng.uniform(-0.3, 0.3, (5, 31))
    low = lowest_heights(embodiment, qpos)
    for frame in range(5):
        # Lowered until it penetrates, the deepest contact with the floor says how low it was.
        data.qpos[:] = qpos[frame]
        data.qpos[2] -= low[frame] + 0.003
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_collision(model, data)
        floor = [c.dist for c in data.contact if embodiment.floor_geom in c.geom]
        assert min(floor) == pytest.approx(-0.003, abs=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_cuda_finds_what_the_cpu_finds():
    embodiment, qpos = demo("fullbody", frames=slice(0, 200))
    wanted = targets(embodiment, qpos)
    cpu = Solver(embodiment).solve([wanted], 100.0)[0]
    cuda = Solver(embodiment, device="cuda").solve([wanted], 100.0)[0]
    assert (cpu.standing == cuda.standing).all()
    # Single precision adds up in another order, and the soles' active set may differ a little.
    assert float((cpu.joints - cuda.joints.cpu()).abs().mean()) < 1e-3
    assert float((cpu.root - cuda.root.cpu())[:, :3].abs().max()) < 2e-3
