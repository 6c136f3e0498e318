"""What a run writes while it trains: TensorBoard, metrics.jsonl, and a progress line."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

#: TensorBoard tag of each statistic; what is not named goes to Metrics/.
_TAGS = {
    "episode_return": "Train/mean_reward",
    "episode_length": "Train/mean_episode_length",
    "reward": "Train/mean_step_reward",
    "task_reward": "Train/mean_task_reward",
    "terminated": "Train/termination_rate",
    "truncated": "Train/truncation_rate",
    "policy_loss": "Loss/surrogate",
    "value_loss": "Loss/value_function",
    "entropy": "Loss/entropy",
    "kl": "Loss/kl",
    "clip_fraction": "Loss/clip_fraction",
    "grad_norm": "Loss/grad_norm",
    "learning_rate": "Loss/learning_rate",
    "explained_variance": "Loss/explained_variance",
    "skipped_updates": "Loss/skipped_updates",
    "first_ratio_error": "Loss/first_ratio_error",
    "mean_std": "Policy/mean_std",
    "steps_per_second": "Perf/total_fps",
    "elapsed": "Perf/elapsed",
    "collection_time": "Perf/collection_time",
    "learning_time": "Perf/learning_time",
    "teacher_time": "Perf/teacher_time",
}


#: Beginnings of what the world-model agent logs of its model and its imagination.
_MODEL = ("model_", "still_error", "window_loss", "imagined_", "real_reward", "state_grad",
          "policy_trusted_model", "policy_grad_norm")  # fmt: skip


def tag(name: str) -> str:
    """Return the TensorBoard tag of a statistic."""
    if name in _TAGS:
        return _TAGS[name]
    if name.startswith("info/reward_"):
        return "Episode_Reward/" + name.removeprefix("info/reward_")
    if name.startswith("info/error_"):
        return "Tracking_Error/" + name.removeprefix("info/error_")
    if name.startswith(("faults/", "overflow/", "style/")):
        return name
    for group in ("evaluation/", "lesson/"):
        if name.startswith(group):
            return group.capitalize() + name.removeprefix(group)
    if name.startswith(_MODEL):
        return "Model/" + name
    return "Metrics/" + name.removeprefix("info/")


class RunLog:
    """Writes the same scalars to TensorBoard and to metrics.jsonl, a line an iteration."""

    def __init__(self, folder: Path, iteration: int, steps: int, progress_interval: float) -> None:
        """Open the logs of a run.

        Args:
            folder: the run's folder.
            iteration: iterations already done; later lines of an interrupted run are dropped.
            steps: control steps already done, after which TensorBoard drops points likewise.
            progress_interval: seconds between progress lines when output is no terminal.
        """
        self._path = folder / "metrics.jsonl"
        if self._path.exists():
            lines = self._path.read_text().splitlines()
            kept = [line for line in lines if _iteration(line) <= iteration]
            self._path.write_text("".join(f"{line}\n" for line in kept))
        self._writer = SummaryWriter(str(folder), purge_step=steps + 1 if steps else None)
        self._interval = progress_interval
        self._last_print = 0.0
        self._live = sys.stdout.isatty()

    def write(self, iteration: int, steps: int, values: dict[str, float]) -> None:
        """Log one iteration; `steps` are control steps over all worlds so far."""
        for name, value in values.items():
            self._writer.add_scalar(tag(name), value, steps)
        record = {"iteration": iteration, "steps": steps}
        record |= {tag(name): value for name, value in values.items()}
        with self._path.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def progress(self, line: str, last: bool = False) -> None:
        """Show a progress line: in place on a terminal, else every few seconds."""
        now = time.monotonic()
        if self._live:
            print(f"\r{line}\x1b[K", end="\n" if last else "", flush=True)
        elif last or now - self._last_print >= self._interval:
            print(line, flush=True)
            self._last_print = now

    def message(self, line: str) -> None:
        """Print a line that stays."""
        print(f"\r{line}\x1b[K" if self._live else line, flush=True)

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


def _iteration(line: str) -> float:
    try:
        return json.loads(line)["iteration"]
    except (ValueError, KeyError, TypeError):
        return float("inf")  # a line cut by a crash is dropped


def duration(seconds: float) -> str:
    """Return a duration as h:mm:ss."""
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}"
