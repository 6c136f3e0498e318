"""The settings of `python -m retarget`."""

from __future__ import annotations

from dataclasses import dataclass, fields, make_dataclass

from cfg.option import opt, section
from retarget.quality_record import Quality
from retarget.report import Thresholds

_LABELS = {field.name: field.metadata for field in fields(Quality)}

#: What a clip may not exceed: the fields of `Thresholds` as settings; null switches one off.
RejectConfig = make_dataclass(
    "RejectConfig",
    [
        (
            field.name,
            float | None,
            opt(
                field.default,
                f"{_LABELS[field.name]['label']} ({_LABELS[field.name]['unit']}) "
                f"above which a clip is rejected; null: never",
            ),
        )
        for field in fields(Thresholds)
    ],
)


@dataclass
class RetargetConfig:
    motions: str | None = opt(None, "folder of SMPL-format .npz clips (AMASS layout), or one clip")
    body_model: str | None = opt(None, "folder of SMPL-family body models, or one model file")
    out: str | None = opt(None, "folder of the motion set to write")
    embodiment: str = opt(
        "fullbody", "body to retarget to: fullbody or bimanual", choices=("fullbody", "bimanual")
    )
    fingers: bool = opt(False, "give the body fingers and retarget them too (needs SMPL-H or X)")
    phantom_inertia: float = opt(
        0.01,
        "rotational inertia (kg m²) of the shoulders' phantom bodies, as in training (1: the "
        "published body): for balance and activations",
        low=0.001,
        high=1.0,
    )
    only: str = opt("*", "glob that a clip's path below `motions`, or its name, must match")
    fps: float = opt(
        100.0,
        "frames a second of the result; training needs the control rate, 100",
        low=20.0,
        high=1000.0,
    )
    smoothing_hz: float = opt(8.0, "frequency at which motion is halved (Hz)", low=0.5, high=100.0)
    balance: bool = opt(True, "lean the body so that its weight rests on its feet")
    standing_margin: float = opt(
        0.08,
        "how far within its soles the weight of a body that does not step should rest (m)",
        low=0.0,
        high=1.0,
    )
    twist_effort: float = opt(
        0.4,
        "part of their strength that it may take muscles to hold the trunk turned about the spine: "
        "it is not turned further; 10 or more: as far as it goes",
        low=0.0,
        high=1000.0,
    )
    avoid_self_collision: bool = opt(True, "keep parts of the body out of each other")
    activations: bool = opt(True, "store the muscle activations that explain each frame")
    allow_pickle: bool = opt(False, "read .pkl body models; unpickling runs code from the file")
    overwrite: bool = opt(False, "redo clips that are already in `out`")
    workers: int = opt(0, "processes; 0 = one a core, or one with device=cuda", low=0, high=1024)
    device: str = opt("cpu", "where postures are solved: cpu or cuda", choices=("cpu", "cuda"))
    batch_frames: int = opt(
        2000, "source frames solved together, of several clips if short", low=1, high=10_000_000
    )
    reject: RejectConfig = section(RejectConfig, "what a clip may not exceed")


#: Settings that do not change what comes out, but for rounding: the stiffness of smoothing is the
#: mean over the clips that are solved together (joints differ by about 1e-4 rad).
PRACTICAL = ("motions", "out", "only", "overwrite", "workers", "device", "batch_frames")
