"""Documentation: links lead somewhere, code runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cfg import load_config
from mm_torch.evaluate import main as evaluate
from mm_torch.export import main as export
from mm_torch.train import main as train
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_LINK = re.compile(r"\]\(([^)\s]*)\)")
_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What links call headings: lower case, without punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.*)$", _CODE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(_CODE.sub("", page.read_text())):
        if link.startswith("http"):
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), f"{page.name}: {link}: no such file"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}: no such heading"


def test_the_readme_names_every_page() -> None:
    named = {link.partition("#")[0] for link in _LINK.findall(PAGES[0].read_text())}
    missing = [f"docs/{page.name}" for page in PAGES[1:] if f"docs/{page.name}" not in named]
    assert not missing, f"README.md: add {', '.join(missing)}"


def test_the_code_of_extending_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Block after block as it stands, in a folder with a run and the page's own files."""
    text = (ROOT / "docs" / "extending.md").read_text()
    python = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (yaml,) = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (goal,) = (block for block in python if "(Goal)" in block)
    (tmp_path / "my_tasks.py").write_text(goal)
    (tmp_path / "mine.yaml").write_text(yaml)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    quick = ["sim.backend=mujoco", "sim.nworld=4", "sim.threads=1", "total_steps=64",
             "agent.num_steps=8", "agent.minibatch_size=32", "run.dir=runs/demo/mine"]  # fmt: skip
    assert train(["cfg=demo", *quick]) == 0
    assert export(["checkpoint=runs/demo/mine/checkpoints/last.pt", "out=policy.pt2"]) == 0
    names: dict[str, object] = {}
    for block in python:
        exec(compile(block, "docs/extending.md", "exec"), names)
    assert names["env"].num_envs == 8 and names["outcome"].reward.shape == (4,)
    # The commands of the page.
    assert load_config(["cfg=mine.yaml", "seed=3"]).reward.site_pos.weight == 4.0
    mine = [*quick[:-1], "task.name=my_tasks:HandHeight", "evaluation.max_steps=4",
            "task.episodes=4", "amp.batch_size=16", "run.dir=runs/mine"]  # fmt: skip
    assert train(["cfg=bimanual_amp", *mine]) == 0
    capsys.readouterr()
    assert evaluate(["checkpoint=runs/mine/checkpoints/last.pt"]) == 0
    assert "episodes of my_tasks:HandHeight" in capsys.readouterr().out
