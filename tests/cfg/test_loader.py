"""Configuration: layering, types and one-line errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from cfg import UserError, available, check, config_from_dict, load_config, load_resolved
from cfg.help import describe
from cfg.option import bounds_of
from cfg.schema import Config


@pytest.mark.parametrize("name", available())
def test_shipped_configurations_load_with_every_preset(name: str) -> None:
    for preset in available("mdp"):
        config = load_config([f"cfg={name}", f"mdp={preset}"])
        assert config.mdp == preset
        assert any(kernel.weight for kernel in config.reward.values() if not _number(kernel))


def _number(value: object) -> bool:
    return isinstance(value, int | float)


def test_layers(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("embodiment: bimanual\nreward: {site_pos: {weight: 7.0}}\nseed: 5\n")
    config = load_config([f"cfg={file}", "seed=6"])
    assert config.seed == 6  # the command line beats the file
    assert config.reward.site_pos.weight == 7.0  # the file beats its preset
    assert config.reward.joint_pos.weight == 0.5  # the preset beats the schema
    config = load_config([f"cfg={file}", "mdp=musclemimic"])
    assert config.reward.site_pos.weight == 2.0  # a preset asked for replaces the file's MDP
    assert config.observation.phase
    config = load_config(["cfg=demo", "mdp=musclemimic", "embodiment=fullbody"])
    assert config.termination.site_deviation_world is None
    assert config.sim.nworld_cpu == 64  # and nothing else


def test_a_preset_named_in_the_file_yields_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("mdp: musclemimic\nreward: {site_pos: {weight: 7.0}}\n")
    config = load_config([f"cfg={file}"])
    assert config.reward.site_pos.weight == 7.0
    assert config.action.mapping == "musclemimic"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sim.nworl=3"], "unknown key 'sim.nworl': did you mean 'sim.nworld'?"),
        (["nworld=3"], "did you mean 'sim.nworld'?"),
        (["sim.nworld=x"], "sim.nworld=x: Value 'x' of type 'str' could not be converted"),
        (["sim.nworld=1.5"], "sim.nworld=1.5"),
        (["sim.nworld=0"], "sim.nworld=0: expected a number at least 1"),
        (["sim.backend=bullet"], "sim.backend=bullet: expected one of auto, warp, mujoco"),
        (["embodiment=legs"], "embodiment=legs: expected one of fullbody, bimanual"),
        (["mdp=none"], "mdp=none: no such configuration; expected one of default, musclemimic"),
        (["seed"], "argument 'seed': expected key=value"),
        (["seed=1", "seed=2"], "'seed' is given twice"),
        (["sim=3"], "sim is a group of settings"),
        (["reward.site_pos=3"], "reward.site_pos is a group of settings"),
        (["network.actor_hidden=[1,a]"], "network.actor_hidden"),
        (["sim.nworld=["], "arguments: "),
        (["agent.lr=null"], "agent.lr"),
    ],
)
def test_errors_are_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(["cfg=demo", *arguments])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="cfg= is missing: give one of bimanual, bimanual_add, bimanual_amp, demo"
    ):
        load_config([])
    with pytest.raises(UserError, match="cfg=nope: no such configuration"):
        load_config(["cfg=nope"])
    with pytest.raises(UserError, match="no such file"):
        load_config([f"cfg={tmp_path}/none.yaml"])
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: [1\nb: }")
    with pytest.raises(UserError, match="cannot be read as YAML"):
        load_config([f"cfg={bad}"])
    bad.write_text("- 1\n- 2\n")
    with pytest.raises(UserError, match="expected keys and values"):
        load_config([f"cfg={bad}"])


def test_resolved_configuration_round_trip(tmp_path: Path) -> None:
    config = load_config(["cfg=fullbody", "seed=9"])
    OmegaConf.save(config, tmp_path / "config.yaml")
    assert load_resolved(tmp_path / "config.yaml") == config
    assert config_from_dict(OmegaConf.to_container(config)) == config
    again = load_config(["seed=10"], base=config)
    assert again.seed == 10
    assert again.reward == config.reward
    with pytest.raises(UserError, match="cannot be combined with resume"):
        load_config(["cfg=demo"], base=config)


def test_help_names_every_setting() -> None:
    text = "\n".join(describe())
    for key in ("sim.nworld=null", "reward.site_pos.weight=0.0", "agent.gamma=0.99"):
        assert key in text
    assert all(len(line.split("  ")) > 1 for line in describe() if "=" in line)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seed=-1"], "seed=-1: expected a number from 0 to 4294967295"),
        (["torch_threads=-2"], "torch_threads=-2: expected a number at least 0"),
        (["pretraining.lr=0"], "pretraining.lr=0.0: expected a number above 0"),
        (["termination.site_deviation=-0.1"], "expected a number above 0"),
        (["evaluation.max_steps=0"], "evaluation.max_steps=0: expected a number at least 1"),
        (["reward.site_pos.sharpness=-100"], "reward.site_pos.sharpness=-100.0: expected"),
        (["reward.penalty_floor=0.5"], "expected a number at most 0.0"),
        (["task.resample=[2]"], "task.resample=[2.0]: expected a list of 2"),
        (["task.resample=[2,-1]"], "task.resample=[2.0, -1.0]: expected a number above 0"),
        (["network.actor_hidden=[64,0]"], "network.actor_hidden=[64, 0]: expected a number at"),
        (["run.minutes=nan"], "run.minutes=nan: expected a number above 0"),
        (["sim.timestep=0"], "sim.timestep=0.0: expected a number above 0"),
    ],
)
def test_values_out_of_bounds(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(["cfg=demo", *arguments])
    assert message in str(caught.value)


def test_defaults_are_within_their_bounds() -> None:
    bounds = dict(bounds_of(Config))
    check(OmegaConf.structured(Config))  # raises otherwise
    assert bounds["phantom_inertia"].expected(0.0) == "a number from 0.001 to 1.0"
    assert bounds["sim.nworld"].expected(None) is None  # null: nothing is asked for
    assert bounds["reset.activation_level"].expected(1.0) is None
    assert bounds["run.minutes"].expected(0.0) == "a number above 0"


def test_help_says_every_choice() -> None:
    lines = {line.split("=")[0].strip(): line for line in describe() if "=" in line}
    for key, bounds in bounds_of(Config):
        for choice in bounds.choices:
            assert choice in lines[key], f"{key}: its help does not name {choice}"
