"""Packaging: a wheel finds settings and demo motions, and imports point one way."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.conftest import ROOT

#: What each package may import of the project.
ALLOWED = {
    "agents": set(),
    "sim": set(),
    "cfg": set(),
    "retarget": {"cfg", "sim"},
    "mm_torch": {"cfg", "sim", "retarget", "agents"},
}


@pytest.mark.parametrize("package", ALLOWED)
def test_arrows_point_one_way(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            ours = {name.split(".")[0] for name in names} & set(ALLOWED)
            assert ours <= ALLOWED[package] | {package}, f"{path} imports {ours}"


def test_wheel_carries_settings_and_demo_motions(tmp_path: Path) -> None:
    if int(version("setuptools").split(".")[0]) < 77:
        pytest.skip("building without isolation needs setuptools 77")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    source = ["--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(ROOT)]
    subprocess.run([*pip, "wheel", *source], check=True)
    (wheel,) = tmp_path.glob("mm_torch-*.whl")
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    code = (
        "import cfg, mm_torch; from cfg import load_config; from mm_torch.build import demo_folder;"
        "c = load_config(['cfg=demo', 'mdp=musclemimic']);"
        "print(cfg.__file__, demo_folder('bimanual'), demo_folder('fullbody'), c.name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
    )  # fmt: skip
    config, bimanual, fullbody, name = done.stdout.split()
    assert all(Path(p).is_relative_to(site) for p in (config, bimanual, fullbody))
    assert name == "demo"
