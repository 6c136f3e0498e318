"""`python -m mm_torch.train`: train a policy."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from cfg import UserError, load_config, load_resolved
from mm_torch.assessment import compared
from mm_torch.build import number_of_worlds
from mm_torch.checkpoint import load_checkpoint
from mm_torch.command_line import run_command, split_arguments
from mm_torch.goal_task import GoalTask
from mm_torch.table import format_table
from mm_torch.trainer import Trainer
from mm_torch.warm_start import shape_settings

USAGE = """
usage: python -m mm_torch.train cfg=NAME [warm_start=CHECKPOINT] [key=value ...]
       python -m mm_torch.train resume=RUN_DIR [key=value ...]

Trains a policy to imitate a motion set, or to do another task (task.name=) in its style. cfg= names
a file in cfg/ (demo, walk, bimanual, fullbody, bimanual_amp, bimanual_add, fullbody_amp) or a path;
agent=ppo, world_model or amp chooses the learner in its place. The run's folder
(runs/NAME/DATE-TIME unless run.dir is given) gets config.yaml, TensorBoard events, metrics.jsonl
and checkpoints/{last,best}.pt. Ctrl-C saves and stops; resume= goes on. warm_start= begins with the
policy of another run, of either agent; observation and network shape are then the checkpoint's. A
first lesson (pretraining.rounds, which cfg=walk has) is given to such a policy as well: it teaches
it other motions, and pretraining.rounds=0 leaves it out.
"""


def main(arguments: Sequence[str]) -> int:
    """Train; return the exit status."""
    own, settings = split_arguments(arguments, ("resume", "warm_start"))
    start = own.get("warm_start")
    if "resume" in own:
        if start is not None:
            raise UserError("warm_start= cannot be combined with resume=: the run has started")
        folder, config, checkpoint = _resume(Path(own["resume"]), settings)
    else:
        shape = shape_settings(start, settings) if start is not None else []
        config = load_config([*settings, *shape])
        # Written into the run's config.yaml: a resume needs the same number anywhere.
        config.sim.nworld = number_of_worlds(config)
        folder, checkpoint = _new_folder(config), None
    trainer = Trainer(config, folder, checkpoint)
    if start is not None:
        trainer.warm_start(start)
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, folder / "config.yaml")
    body = trainer.embodiment
    print(
        f"{body.name}: {body.model.nu} muscles, {trainer.env.obs_dim} observations, "
        f"{trainer.env.num_envs} worlds on {type(trainer.task.simulator).__name__} "
        f"({trainer.env.device}); writing to {folder}"
    )
    interrupted = trainer.train()
    _report(trainer)
    trainer.close()
    return 130 if interrupted else 0


def _resume(folder: Path, settings: Sequence[str]) -> tuple[Path, DictConfig, dict]:
    path = folder / "checkpoints" / "last.pt"
    if not (folder / "config.yaml").is_file() or not path.is_file():
        raise UserError(f"resume={folder}: no run there (config.yaml and checkpoints/last.pt)")
    config = load_config(settings, base=load_resolved(folder / "config.yaml"))
    return folder, config, load_checkpoint(path)


def _new_folder(config: DictConfig) -> Path:
    if config.run.dir is None:
        root = Path(config.run.root) / config.name
        stamp = time.strftime("%Y-%m-%d-%H%M%S")
        folder, count = root / stamp, 1
        while folder.exists():
            folder, count = root / f"{stamp}-{count}", count + 1
        return folder
    folder = Path(config.run.dir)
    if (folder / "checkpoints").exists():
        raise UserError(
            f"run.dir={folder} already holds a run: go on with resume={folder}, or give another one"
        )
    return folder


def _report(trainer: Trainer) -> None:
    """Print the untrained, the pretrained and the trained policy side by side."""
    stages = ("untrained", "pretrained", "trained")
    shown = {k: trainer.evaluations[k] for k in stages if k in trainer.evaluations}
    if len(shown) < 2:
        return
    title = "on the training clips, from their first frame"
    if isinstance(trainer.task, GoalTask):
        title = f"{trainer.config.task.episodes} episodes of {trainer.config.task.name}"
    print(format_table((title, *shown), compared(shown)))


if __name__ == "__main__":
    sys.exit(run_command(main, USAGE))
