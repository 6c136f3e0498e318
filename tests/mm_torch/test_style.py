"""What a discriminator judges."""

from __future__ import annotations

import pytest
import torch

from mm_torch.style import StylePairs, TrackingDifferences, style_observation
from tests.mm_torch.helpers import small_task


@pytest.mark.parametrize("embodiment", ["bimanual", "fullbody"])
def test_a_state_and_its_frame_have_the_same_style(embodiment: str) -> None:
    task = small_task(embodiment)
    everywhere = torch.ones(4, dtype=torch.bool)
    clip = torch.zeros(4, dtype=torch.long)
    frame = torch.tensor([2, 17, 30, 55])
    task.place(everywhere, clip, frame)
    placed = style_observation(task.body)
    kept = style_observation(task.library.frames(clip, frame))
    torch.testing.assert_close(placed, kept, atol=2e-4, rtol=1e-4)
    joints = task.body.joint_pos.shape[1]
    sites = 3 * (task.body.site_pos.shape[1] - 1)
    assert placed.shape[1] == 2 * joints + sites + 13 * (embodiment == "fullbody")
    task.simulator.close()


def test_heading_and_place_do_not_show() -> None:
    task = small_task("fullbody")
    frames = task.library.frames(torch.zeros(3, dtype=torch.long), torch.tensor([5, 40, 90]))
    here = style_observation(frames)
    angle = torch.tensor(0.7)
    half = angle / 2
    turn = torch.tensor([[angle.cos(), -angle.sin(), 0], [angle.sin(), angle.cos(), 0], [0, 0, 1]])
    qpos, qvel = frames.qpos.clone(), frames.qvel.clone()
    qpos[:, :3] = qpos[:, :3] @ turn.T + torch.tensor([3.0, -2.0, 0.0])
    w, x, y, z = frames.qpos[:, 3:7].unbind(-1)
    c, s = half.cos(), half.sin()
    qpos[:, 3:7] = torch.stack((c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w), -1)
    qvel[:, :3] = qvel[:, :3] @ turn.T
    moved = type(frames)(frames.layout, qpos, qvel, frames.site_pos @ turn.T,
                         turn @ frames.site_rot, frames.site_vel)  # fmt: skip
    torch.testing.assert_close(style_observation(moved), here, atol=1e-5, rtol=1e-5)
    task.simulator.close()


def test_real_pairs_are_consecutive_frames_of_one_clip() -> None:
    task = small_task("bimanual")
    judge = StylePairs(task)
    generator = torch.Generator().manual_seed(0)
    drawn = judge.expert(400, generator)
    assert drawn.shape == (400, judge.dim)
    library = task.library
    every = []
    for clip in range(len(library)):
        count = int(library.lengths[clip]) - 1
        clips, frames = torch.full((count,), clip), torch.arange(count)
        pair = [style_observation(library.frames(clips, frames + i)) for i in (0, 1)]
        every.append(torch.cat(pair, dim=-1))
    every = torch.cat(every)
    torch.testing.assert_close(judge.every(), every)
    distance = torch.cdist(drawn.double(), every.double()).amin(1)
    assert distance.max() < 1e-5
    # Every clip is drawn about as often as it is long.
    nearest = torch.cdist(drawn.double(), every.double()).argmin(1)
    ends = (library.lengths - 1).cumsum(0)
    share = torch.bincount(torch.searchsorted(ends, nearest, right=True), minlength=len(library))
    expected = 400 * (library.lengths - 1) / ends[-1]
    assert (share - expected).abs().max() < 50
    task.simulator.close()


def test_pairs_and_differences_of_a_step() -> None:
    task = small_task("bimanual")
    pairs, differences = StylePairs(task), TrackingDifferences(task)
    before = style_observation(task.body).clone()
    pairs.before()
    task.step(torch.full((4, task.action_dim), -3.0))
    judged = pairs.after()
    assert torch.equal(judged[:, : before.shape[1]], before)
    assert torch.equal(judged[:, before.shape[1] :], style_observation(task.body))
    error = differences.after()
    joints = task.body.joint_pos.shape[1]
    expected = task.body.joint_pos - task.reference().joint_pos
    torch.testing.assert_close(error[:, :joints], expected)
    assert differences.expert(3, torch.Generator()).abs().max() == 0
    assert pairs.name != differences.name
    task.simulator.close()
    walker = small_task("fullbody")
    assert TrackingDifferences(walker).dim == StylePairs(walker).dim // 2 + 6
    walker.simulator.close()
