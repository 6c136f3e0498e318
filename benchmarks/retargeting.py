"""Retargeting against frame-by-frame inverse kinematics with mink, in one run.

    python benchmarks/retargeting.py [clips=FILE,FILE] [body_model=DIR] [device=cpu] [json=FILE]

Both follow the same targets: the same frames of the same clip, the same tracked frames and weights,
joint limits and couplings. mink solves one frame after another, each from the one before, until no
joint moves by more than `tolerance` in a step (the first frame, from the neutral posture, up to 100
steps, the others up to 30); its couplings are a task, weighted so that they hold to about
1e-4. Ours is timed twice: for tracking alone, which is what mink does, and in full, with
smoothness, floor, foot contact, balance and parts of the body kept apart. Then again on the clip
repeated 2, 4 and 8 times.

Needs mink and daqp: pip install 'mm-torch[benchmark]'.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cfg import UserError, load_settings
from retarget.pipeline import Retargeter, Source
from retarget.settings import RetargetConfig
from retarget.solve import Solution
from retarget.solve_options import SolveOptions
from retarget.tracks import tracks
from sim.independent import IndependentCoordinates
from sim.kinematics import Kinematics
from sim.rotations import matrix_to_quat

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
DEFAULTS = {
    "clips": ",".join(str(DATA / f"amass/CMU/02/02_{n}_poses.npz") for n in ("05", "10")),
    "body_model": str(DATA / "body_models"),
    "device": "cpu",
    "tolerance": "1e-3",
    "json": "",
}
_COUPLING_COST = 30.0
_DAMPING = 5e-5


def site_errors(retargeter: Retargeter, qpos: np.ndarray, wanted: torch.Tensor) -> np.ndarray:
    """Distances (T, nsite) of the mimic sites from their targets (cm)."""
    body = retargeter.embodiment
    position, _ = Kinematics.of_sites(body)(torch.as_tensor(qpos))
    return 100 * (position - wanted[:, : len(body.mimic_sites)].cpu()).norm(dim=-1).numpy()


def run_ours(
    retargeter: Retargeter, source: Source, options: SolveOptions, repeats: int = 3
) -> tuple[float, Solution]:
    """Frames a second, best of a few runs, and the solution."""
    retargeter.solver.options = options
    best = float("inf")
    for _ in range(repeats + 1):  # the first is a warm-up that may win nothing
        start = time.perf_counter()
        solution = retargeter.solve([source])[0]
        if retargeter.config.device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return len(source.position) / best, solution


def run_mink(
    retargeter: Retargeter, source: Source, tolerance: float
) -> tuple[float, float, np.ndarray]:
    """Frames a second, iterations a frame and postures (T, nq)."""
    try:
        import mink
    except ImportError as error:
        raise UserError("needs mink and daqp: pip install 'mm-torch[benchmark]'") from error
    body = retargeter.embodiment
    follows = tracks(body)
    tasks = [
        mink.FrameTask(
            track.frame,
            "site" if track.is_site else "body",
            position_cost=track.position**0.5,  # mink squares its costs
            orientation_cost=track.orientation**0.5,
        )
        for track in follows
    ]
    couplings = mink.EqualityConstraintTask(body.model, cost=_COUPLING_COST)
    limits = [mink.ConfigurationLimit(body.model)]
    configuration = mink.Configuration(body.model)
    configuration.update(body.model.qpos0)
    position, quat = source.position.numpy(), matrix_to_quat(source.rotation).numpy()
    qpos, iterations = np.empty((len(position), body.model.nq)), 0
    start = time.perf_counter()
    for frame in range(len(position)):
        for row, task in enumerate(tasks):
            task.set_target(
                mink.SE3.from_rotation_and_translation(
                    mink.SO3(quat[frame, row]), position[frame, row]
                )
            )
        for _ in range(30 if frame else 100):
            velocity = mink.solve_ik(
                configuration, [*tasks, couplings], 1.0, "daqp", damping=_DAMPING, limits=limits
            )
            configuration.integrate_inplace(velocity, 1.0)
            iterations += 1
            if np.abs(velocity).max() < tolerance:
                break
        qpos[frame] = configuration.q
    spent = time.perf_counter() - start
    return len(position) / spent, iterations / len(position), qpos


def main(arguments: list[str]) -> int:
    """Run both and print a table."""
    settings = dict(DEFAULTS)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in settings:
            raise UserError(f"unexpected argument {argument!r}: expected one of {list(settings)}")
        settings[key] = value
    config = load_settings(
        RetargetConfig,
        [f"body_model={settings['body_model']}", f"device={settings['device']}"],
    )
    retargeter = Retargeter(config)
    records = [
        compare(retargeter, retargeter.prepare(clip), float(settings["tolerance"]))
        for clip in settings["clips"].split(",")
    ]
    if settings["json"]:
        Path(settings["json"]).write_text(json.dumps(records, indent=1) + "\n")
    return 0


def compare(retargeter: Retargeter, source: Source, tolerance: float) -> dict[str, Any]:
    """Run both on a clip, print a table and return its numbers."""
    rows: list[dict[str, Any]] = []

    def add(
        name: str, speed: float, qpos: np.ndarray, wanted: torch.Tensor, note: str = ""
    ) -> None:
        error = site_errors(retargeter, qpos, wanted)
        residual = float(np.abs(retargeter.embodiment.couplings.residual(qpos)).max())
        mean, rmse = float(error.mean()), float(np.sqrt((error**2).mean()))
        rows.append(
            {"method": name, "frames_per_s": speed, "site_error_mean_cm": mean,
             "site_error_rmse_cm": rmse, "coupling_residual": residual, "note": note}
        )  # fmt: skip
        print(
            f"{name:22} {speed:9,.0f} {mean:8.3f} {rmse:8.3f} {residual:10.1e}  {note}", flush=True
        )

    print(
        f"{source.clip.name}: {len(source.position)} frames at {retargeter.config.fps:g} Hz, "
        f"{torch.get_num_threads()} threads, {retargeter.config.device}"
    )
    print(f"{'':22} {'frames/s':>9} {'mean cm':>8} {'RMSE cm':>8} {'couplings':>10}")
    tracking = SolveOptions(contact=False, avoid_self_collision=False, smoothing_hz=float("inf"))
    fast, solution = run_ours(retargeter, source, tracking)
    # As solved: without contact there is no floor to be raised above.
    coordinates = IndependentCoordinates(retargeter.embodiment)
    qpos = coordinates.qpos(solution.joints.cpu(), solution.root.cpu()).numpy()
    add("ours, tracking alone", fast, qpos, solution.target_position)
    full, solution = run_ours(retargeter, source, SolveOptions())
    add("ours, in full", full, retargeter.qpos(solution), solution.target_position)
    speed, iterations, qpos = run_mink(retargeter, source, tolerance)
    note = f"{iterations:.1f} iterations a frame, on one core"
    add("mink", speed, qpos, source.position, note)
    print(f"ours / mink: {fast / speed:.1f} for tracking alone, {full / speed:.1f} in full")
    growth = {}
    for times in (1, 2, 4, 8):
        rate, _ = run_ours(retargeter, _repeat(source, times), SolveOptions(), repeats=1)
        growth[times] = 1e3 / rate
    shown = ", ".join(f"x{times}: {cost:.3f} ms" for times, cost in growth.items())
    print(f"ours in full, a frame of the clip repeated {shown}\n")
    return {"clip": source.clip.name, "rows": rows, "ms_per_frame_by_repeats": growth}


def _repeat(source: Source, times: int) -> Source:
    """The clip forwards and backwards in turn, so that it does not jump."""

    def there_and_back(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x if i % 2 == 0 else x.flip(0) for i in range(times)])

    return replace(
        source,
        position=there_and_back(source.position),
        rotation=there_and_back(source.rotation),
    )


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
