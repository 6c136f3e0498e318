"""Which muscles' paths differ between WarpSim and MuJoCo C in identical states.

A tendon that wraps around a sphere or a cylinder is a discontinuous function of the pose: it may
touch or pass the surface, and pass it on either side. Next to such a switch float32 can decide
otherwise than float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
import torch

from sim.warp_sim import WarpSim


@dataclass(frozen=True)
class TendonParity:
    """Differences of muscle paths in n states.

    Attributes:
        length: (n, nu) absolute differences of musculotendon lengths (m).
        moment_arm: (n, nu) largest absolute difference of a muscle's moment arms (m/rad).
        touching: (n, nu) bool, paths with another number of wrap points: one side touches a
            surface that the other passes.
        side: (n, nu) bool, equally many points of which one lies over 1 mm elsewhere: another side.
        muscle_names: (nu,).
    """

    length: np.ndarray
    moment_arm: np.ndarray
    touching: np.ndarray
    side: np.ndarray
    muscle_names: tuple[str, ...]

    def switched(self) -> list[tuple[str, int, float, float]]:
        """Return the muscles whose path was decided otherwise in some state, most often first.

        Each with the number of states, and the largest difference of length (m) and moment arm
        (m/rad) in them.
        """
        either = self.touching | self.side
        rows = []
        for muscle in np.flatnonzero(either.any(0)):
            where = either[:, muscle]
            length, arm = self.length[where, muscle].max(), self.moment_arm[where, muscle].max()
            rows.append((self.muscle_names[muscle], int(where.sum()), float(length), float(arm)))
        return sorted(rows, key=lambda row: (-row[1], row[0]))

    def rounding(self) -> tuple[float, float]:
        """Return the largest difference of length (m) and moment arm (m/rad) on equal paths."""
        equal = ~(self.touching | self.side)
        return float(self.length[equal].max()), float(self.moment_arm[equal].max())


def compare_tendons(simulator: WarpSim, qpos: torch.Tensor) -> TendonParity:
    """Compute the muscle paths of states in `simulator` and in MuJoCo C, and compare.

    Args:
        simulator: its worlds are overwritten; the states are taken in batches of its world count.
        qpos: (n, nq) float32, at least one state.
    """
    body = simulator.embodiment
    data = mujoco.MjData(body.model)
    rows = []
    everywhere = torch.ones(simulator.nworld, dtype=torch.bool, device=simulator.device)
    for start in range(0, len(qpos), simulator.nworld):
        chosen = qpos[start : start + simulator.nworld]
        filled = chosen[torch.arange(simulator.nworld) % len(chosen)].to(simulator.device)
        simulator.reset(everywhere, filled, torch.zeros_like(simulator.qvel))
        warp = _paths_on_device(simulator)
        for world, row in enumerate(chosen.double().numpy()):
            data.qpos[:] = row
            mujoco.mj_kinematics(body.model, data)
            mujoco.mj_comPos(body.model, data)
            mujoco.mj_tendon(body.model, data)
            mujoco.mj_transmission(body.model, data)
            rows.append(_compare(body.model, data, {k: v[world] for k, v in warp.items()}))
    columns = [np.stack(column) for column in zip(*rows, strict=True)]
    return TendonParity(*columns, body.muscle_names)


def _paths_on_device(simulator: WarpSim) -> dict[str, np.ndarray]:
    data, names = simulator._data, (
        "actuator_length", "actuator_moment", "moment_rownnz", "moment_rowadr", "moment_colind",
        "ten_wrapadr", "ten_wrapnum", "wrap_xpos",
    )  # fmt: skip
    return {name: getattr(data, name).numpy() for name in names}


def _dense(rows: int, columns: int, values, counts, addresses, indices) -> np.ndarray:
    dense = np.zeros((rows, columns))
    for row in range(rows):
        entries = slice(addresses[row], addresses[row] + counts[row])
        dense[row, indices[entries]] = values[entries]
    return dense


def _compare(
    model: mujoco.MjModel, data: mujoco.MjData, warp: dict[str, np.ndarray]
) -> tuple[np.ndarray, ...]:
    """Return (nu,) rows of `TendonParity` of one state."""
    length = np.abs(warp["actuator_length"] - data.actuator_length)
    parts = ("actuator_moment", "moment_rownnz", "moment_rowadr", "moment_colind")
    size = (model.nu, model.nv)
    moments = [_dense(*size, *(warp[name].ravel() for name in parts)),
               _dense(*size, *(getattr(data, name).ravel() for name in parts))]  # fmt: skip
    arm = np.abs(moments[0] - moments[1]).max(1)
    points = warp["wrap_xpos"].reshape(-1, 3), data.wrap_xpos.reshape(-1, 3)
    touching, side = np.zeros(model.nu, dtype=bool), np.zeros(model.nu, dtype=bool)
    on_tendon = model.actuator_trntype == mujoco.mjtTrn.mjTRN_TENDON
    for muscle in np.flatnonzero(on_tendon):
        tendon = model.actuator_trnid[muscle, 0]
        counts = warp["ten_wrapnum"][tendon], data.ten_wrapnum[tendon]
        touching[muscle] = counts[0] != counts[1]
        if not touching[muscle]:
            paths = [
                point[address : address + counts[0]]
                for point, address in zip(
                    points, (warp["ten_wrapadr"][tendon], data.ten_wrapadr[tendon]), strict=True
                )
            ]
            side[muscle] = np.abs(paths[0] - paths[1]).max() > 1e-3
    return length, arm, touching, side
