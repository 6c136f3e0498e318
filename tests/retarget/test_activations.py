"""Activations belong to a body: another one gets its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mm_torch.build import make_task
from retarget import Motion, write_motion_set
from retarget.activations import has_activations, with_activations
from retarget.reference import make_motion
from sim.embodiment import Embodiment
from sim.static_optimization import static_optimization
from sim.world_parameters import weakened
from tests.conftest import body
from tests.mm_torch.helpers import small_config


@pytest.fixture(scope="module")
def motion(bimanual: Embodiment) -> Motion:
    """Twelve frames of an arm that is raised faster and faster, with activations of the body."""
    qpos, time = np.tile(bimanual.model.qpos0, (12, 1)), np.arange(12) / 100
    qpos[:, bimanual.model.joint("shoulder_elv_r").qposadr[0]] = 0.3 + 5.0 * time**2
    qpos = bimanual.couplings.complete_qpos(qpos)
    return with_activations(make_motion("raise", bimanual, qpos, 100.0, "test"), bimanual)


def test_stay_where_they_are_of_this_body(motion: Motion, bimanual: Embodiment) -> None:
    marked = replace(motion, act=np.full_like(motion.act, 0.25))
    assert has_activations(marked, bimanual)
    assert with_activations(marked, bimanual) is marked


def test_a_motion_without_gets_those_of_static_optimization(
    motion: Motion, bimanual: Embodiment
) -> None:
    expected = static_optimization(bimanual, motion.qpos, motion.qvel, motion.fps)
    assert motion.act.max() > 0.01 and (motion.act == expected).all()


@pytest.mark.parametrize("other", ["phantoms as published", "a weak muscle"])
def test_another_body_gets_its_own(motion: Motion, bimanual: Embodiment, other: str) -> None:
    if other == "a weak muscle":
        strongest = bimanual.muscle_names[int(motion.act.mean(0).argmax())]
        made = weakened(bimanual, {strongest: 0.0})
    else:
        made = body("bimanual", phantom_inertia=1.0)
    assert not has_activations(motion, made)
    found = with_activations(motion, made)
    assert has_activations(found, made) and not has_activations(found, bimanual)
    assert (found.qpos == motion.qpos).all() and found.act.shape == motion.act.shape
    expected = static_optimization(made, motion.qpos, motion.qvel, motion.fps)
    assert (found.act == expected).all()
    assert np.abs(found.act - motion.act).max() > 0.01


def test_a_task_finds_them_and_says_so(
    motion: Motion, bimanual: Embodiment, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    write_motion_set(tmp_path, [motion, replace(motion, name="again")])
    strongest = bimanual.muscle_names[int(motion.act.mean(0).argmax())]
    shown = {}
    for weakness in ("{}", f"{{{strongest}: 0.0}}"):
        config = small_config(
            "bimanual", f"motions={tmp_path}", f"randomization.weakness={weakness}",
            "reset.activation=statics",
        )  # fmt: skip
        task = make_task(config, bimanual, 1)
        shown[weakness] = task.library.activations(task.clip, task.clip)[0].numpy()
        task.simulator.close()
        said = [str(warning.message) for warning in recwarn.list if "activations" in str(warning)]
        assert len(said) == (weakness != "{}"), said
    assert "2 of 2 motions (24 frames)" in said[0]
    healthy, weak = shown.values()
    np.testing.assert_allclose(healthy, motion.act[0], atol=1e-3)
    muscle = bimanual.muscle_names.index(strongest)
    assert healthy[muscle] > 0.01 and weak[muscle] < 1e-3
