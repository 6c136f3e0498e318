"""Exported policies: what another program computes from the file, and what the file says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mm_torch import export, train
from mm_torch.command_line import run_command
from mm_torch.policy_loading import load_policy
from tests.mm_torch.test_commands import TINY, _error

KINDS = {
    "imitation": ["network.direct=true"],
    "musclemimic": ["mdp=musclemimic", "network.residual=gated", "network.actor_hidden=[16,16]"],
    "reach": ["cfg=bimanual_amp"],
}


@pytest.fixture(scope="module", params=KINDS)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of each kind of observation and of output, trained for a moment."""
    given = {argument.split("=")[0] for argument in KINDS[request.param]}
    settings = [s for s in TINY if s.split("=")[0] not in given] + KINDS[request.param]
    folder = tmp_path_factory.mktemp("runs") / request.param
    assert run_command(train.main, "", [*settings, "total_steps=64", f"run.dir={folder}"]) == 0
    return folder / "checkpoints" / "last.pt"


def _run_onnx(path: Path, observation: np.ndarray) -> tuple[np.ndarray, str]:
    onnx = pytest.importorskip("onnx", reason="needs the extra 'export'")
    from onnx.reference import ReferenceEvaluator

    model = onnx.load(path)
    onnx.checker.check_model(model)
    (text,) = (entry.value for entry in model.metadata_props if entry.key == "mm_torch")
    (got,) = ReferenceEvaluator(model).run(["excitation"], {"observation": observation})
    return got, text


def _run_pt2(path: Path, observation: np.ndarray) -> tuple[np.ndarray, str]:
    extra = {"mm_torch.json": ""}
    program = torch.export.load(path, extra_files=extra)
    got = program.module()(torch.from_numpy(observation))
    return got.detach().numpy(), extra["mm_torch.json"]


@pytest.mark.parametrize("run", [_run_onnx, _run_pt2], ids=["onnx", "pt2"])
def test_another_program_gets_the_same_excitations(checkpoint: Path, tmp_path: Path, run) -> None:
    if run is _run_onnx:
        pytest.importorskip("onnxscript", reason="needs the extra 'export'")
    out = tmp_path / f"policy.{'onnx' if run is _run_onnx else 'pt2'}"
    arguments = [f"checkpoint={checkpoint}", f"out={out}"]
    assert run_command(export.main, "", arguments) == 0
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    loaded = load_policy(checkpoint, nworld=3)
    task = loaded.task
    for _ in range(3):
        observation = task.observe()
        with torch.no_grad():
            action = loaded.act(observation)
        got, text = run(out, observation.numpy())
        task.step(action)
        # What the simulator was told, by way of the action and of its mapping.
        np.testing.assert_allclose(got, task.simulator.ctrl.numpy(), atol=3e-6)
    one, _ = run(out, observation[:1].numpy())
    np.testing.assert_allclose(one, got[:1], atol=1e-6)

    description = json.loads(text)
    assert description["muscles"] == list(task.simulator.embodiment.muscle_names)
    assert description["control_dt"] == task.simulator.control_dt
    low, high = description["excitation"]
    assert low <= got.min() and got.max() <= high


def test_the_description_says_where_every_term_is(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "policy.pt2"
    assert run_command(export.main, "", [f"checkpoint={checkpoint}", f"out={out}"]) == 0
    loaded = load_policy(checkpoint, nworld=2)
    task = loaded.task
    with torch.no_grad():
        task.step(loaded.act(task.observe()))
    observation = task.observe()
    description = json.loads(_run_pt2(out, observation.numpy())[1])
    terms = {term["term"]: term for term in description["observation"]}
    assert all(term["meaning"] for term in terms.values())
    ends = [term["first"] + term["size"] for term in description["observation"]]
    assert [term["first"] for term in description["observation"]] == [0, *ends[:-1]]
    assert ends[-1] == task.obs_dim
    names = set()
    for name, term in (*task.observation.terms, ("command", None)):
        if name == "command" and loaded.config.task.name == "imitation":
            continue
        at = slice(terms[name]["first"], terms[name]["first"] + terms[name]["size"])
        value = task.goal.observe(task.body) if term is None else term(task.state())
        torch.testing.assert_close(observation[:, at], value)
        names.add(name)
    assert names == set(terms)


def test_export_errors(checkpoint: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    policy = f"checkpoint={checkpoint}"
    assert "out= is missing" in _error(capsys, export, policy)
    assert "checkpoint= is missing" in _error(capsys, export, f"out={tmp_path}/a.onnx")
    assert "ends in .onnx or .pt2" in _error(capsys, export, policy, f"out={tmp_path}/a.pt")
    assert "folder does not exist" in _error(capsys, export, policy, f"out={tmp_path}/b/a.pt2")
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    message = _error(capsys, export, policy, f"out={tmp_path}/a.onnx")
    assert "pip install 'mm-torch[export]'" in message

    def wrong(path: Path):
        return lambda observation: np.zeros((len(observation), 64), np.float32)

    monkeypatch.setitem(export.FORMATS, ".pt2", (export.write_pt2, wrong))
    assert "not written" in _error(capsys, export, policy, f"out={tmp_path}/a.pt2")
    assert not list(tmp_path.iterdir())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_policy_on_a_gpu_is_written_for_any_device(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "policy.pt2"
    arguments = [f"checkpoint={checkpoint}", f"out={out}", "sim.backend=warp"]
    assert run_command(export.main, "", arguments) == 0
    loaded = load_policy(checkpoint, nworld=2)
    observation = loaded.task.observe()
    with torch.no_grad():
        expected = loaded.act.excitation(observation).numpy()
    np.testing.assert_allclose(_run_pt2(out, observation.numpy())[0], expected, atol=3e-6)
