"""Skeletons of SMPL-family body models: joints at rest as a function of shape.

Files are read by the `smplx` package, so that all its formats work. Of the mesh only what moves the
joints is kept: J(β) = J0 + D β with J0 = R v and D = R S (template v, shape directions S, joint
regressor R).
"""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cfg.errors import UserError

_BODY = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2",
    "left_ankle", "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar",
    "right_collar", "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
    "left_wrist", "right_wrist",
)  # fmt: skip
_FINGERS = tuple(
    f"{side}_{finger}{number}"
    for side in ("left", "right")
    for finger in ("index", "middle", "pinky", "ring", "thumb")
    for number in (1, 2, 3)
)
#: Joint names of each model, in its order.
JOINT_NAMES = {
    "smpl": (*_BODY, "left_hand", "right_hand"),
    "smplh": (*_BODY, *_FINGERS),
    "smplx": (*_BODY, "jaw", "left_eye_smplhf", "right_eye_smplhf", *_FINGERS),
}


class BodyModelError(UserError):
    """A body model that cannot be used, and why."""


@dataclass(frozen=True)
class BodyModel:
    """The skeleton of a body model. Axes are SMPL's: y up, facing +z, x to the body's left.

    Attributes:
        model_type: "smpl", "smplh" or "smplx".
        gender: of the file: the one asked for, or neutral where there is no such file.
        path: the file.
        parents: (J,) parent of each joint, -1 for the root.
        template: (J, 3) joints of the mean shape (m).
        directions: (J, 3, B) their derivatives by the betas.
    """

    model_type: str
    gender: str
    path: Path
    parents: np.ndarray
    template: np.ndarray
    directions: np.ndarray

    @property
    def has_fingers(self) -> bool:
        """Whether the model has joints in its hands."""
        return "left_index1" in JOINT_NAMES[self.model_type]

    def joints(self, betas: np.ndarray) -> np.ndarray:
        """Return joints at rest (J, 3) of a shape (any length; missing betas are zero)."""
        count = min(len(betas), self.directions.shape[-1])
        return self.template + self.directions[..., :count] @ np.asarray(betas)[:count]


def require_fingers(model: BodyModel) -> None:
    """Check that fingers can be retargeted from this model.

    Raises:
        BodyModelError: it has none.
    """
    if not model.has_fingers:
        raise BodyModelError(
            f"{model.path}: a body model without fingers ({len(model.parents)} joints); "
            f"fingers=true needs clips and models of SMPL+H or SMPL-X"
        )


def load_body_model(
    path: str | Path, model_type: str, gender: str, allow_pickle: bool = False
) -> BodyModel:
    """Read a body model.

    Args:
        path: folder in the layout of smplx (`smplh/SMPLH_NEUTRAL.npz`) or AMASS
            (`smplh/neutral/model.npz`), or one model file.
        model_type: "smpl", "smplh" or "smplx".
        gender: "neutral", "male" or "female"; where it is missing, the neutral model is used.
        allow_pickle: read `.pkl` files. Unpickling runs code from the file.

    Raises:
        BodyModelError: no such model, only a pickle, a damaged file, or smplx is not installed.
    """
    file, found = _find(Path(path), model_type, gender, allow_pickle)
    try:
        import smplx
    except ImportError as error:
        raise BodyModelError(
            "retargeting needs the smplx package: pip install 'mm-torch[retarget]'"
        ) from error
    classes = {"smpl": smplx.SMPL, "smplh": smplx.SMPLH, "smplx": smplx.SMPLX}
    extra = {} if model_type == "smpl" else {"use_pca": False, "flat_hand_mean": True}
    try:
        # smplx prints warnings of its own about the number of betas.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = classes[model_type](
                str(file), gender=found, ext=file.suffix[1:], num_betas=10, **extra
            )
            directions = _shape_directions(file, model_type)
            if directions is None:
                directions = model.shapedirs.detach().numpy()
    except Exception as error:  # zip, pickle, key, shape: whatever a wrong file makes smplx raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BodyModelError(
            f"{file}: cannot be read as a {model_type} model ({reason})"
        ) from error
    regressor = model.J_regressor.detach().double().numpy()
    count = len(JOINT_NAMES[model_type])
    parents = model.parents.detach().numpy().astype(np.int64).copy()
    if len(regressor) != count or len(parents) != count:
        raise BodyModelError(
            f"{file}: {len(regressor)} joints, expected {count} of a {model_type} model"
        )
    parents[0] = -1
    template = regressor @ model.v_template.detach().double().numpy()
    return BodyModel(
        model_type=model_type,
        gender=found,
        path=file,
        parents=parents,
        template=template,
        directions=np.einsum("jv,vkb->jkb", regressor, directions.astype(np.float64)),
    )


def _shape_directions(file: Path, model_type: str) -> np.ndarray | None:
    """Shape directions (V, 3, B) of an .npz file, of which smplx keeps 10 if there are under 300."""
    if file.suffix != ".npz":
        return None
    with np.load(file, allow_pickle=False) as entries:
        directions = entries["shapedirs"]
    # Columns from 300 on are expressions of the face.
    directions = directions[..., : 300 if model_type == "smplx" else None]
    real = np.abs(directions).max(axis=(0, 1)) > 0
    return directions[..., : int(np.flatnonzero(real).max(initial=0)) + 1]


def _find(path: Path, model_type: str, gender: str, allow_pickle: bool) -> tuple[Path, str]:
    """The model's file and its gender."""
    if not path.exists():
        raise BodyModelError(f"body_model={path}: no such folder or file")
    if path.is_file():
        if path.suffix == ".pkl" and not allow_pickle:
            raise BodyModelError(_pickle_text(path))
        if path.suffix not in (".npz", ".pkl"):
            raise BodyModelError(f"body_model={path}: expected an .npz (or .pkl) file or a folder")
        named = [g for g in ("neutral", "female", "male") if g in path.stem.lower().split("_")]
        return path, named[0] if named else gender
    pickled: list[Path] = []
    for wanted in dict.fromkeys((gender, "neutral")):
        for folder in (path / model_type, path):
            stem = f"{model_type.upper()}_{wanted.upper()}"
            for candidate in (folder / stem, folder / wanted / "model"):
                if folder == path and candidate.name == "model" and path.name != model_type:
                    continue
                npz, pkl = candidate.with_suffix(".npz"), candidate.with_suffix(".pkl")
                if npz.is_file():
                    return npz, wanted
                if pkl.is_file():
                    if allow_pickle:
                        return pkl, wanted
                    pickled.append(pkl)
    if pickled:
        raise BodyModelError(_pickle_text(pickled[0]))
    files = sorted(
        str(file.relative_to(path)) for file in path.rglob("*") if file.suffix in (".npz", ".pkl")
    )
    there = ", ".join(files[:5]) or "no model file"
    raise BodyModelError(
        f"body_model={path}: no {model_type} model for gender {gender} or neutral (expected "
        f"{model_type}/{model_type.upper()}_NEUTRAL.npz; there is {there})"
    )


def _pickle_text(file: Path) -> str:
    return (
        f"{file}: a pickle, and unpickling runs code from the file: give allow_pickle=true if you "
        f"trust it, or convert it to .npz"
    )
