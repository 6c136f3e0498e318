"""Body models of the SMPL family: where the joints are at rest, and how shape moves them.

Retargeting needs joints alone, no skin. At rest the joints are at J_regressor @ (v_template +
shapedirs @ betas) (Loper et al. 2015, "SMPL: a skinned multi-person linear model"). SMPL's axes are
y up, facing +z, with x to the body's left.

Files are laid out as the `smplx` package wants them (`smplh/SMPLH_NEUTRAL.npz`) or as AMASS's
downloads are (`smplh/neutral/model.npz`). Only the arrays that the joints need are taken from a
file and given to `smplx`; what else a file holds is never opened, because NumPy archives too can
carry pickled objects, and `smplx` by itself would run them.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from cfg.errors import UserError

if TYPE_CHECKING:
    import torch

_BODY = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar",
    "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist",
    "right_wrist",
)  # fmt: skip
_FINGERS = tuple(
    f"{side}_{digit}{number}"
    for side in ("left", "right")
    for digit in ("index", "middle", "pinky", "ring", "thumb")
    for number in (1, 2, 3)
)
#: Names of the joints of each model type, in order.
JOINT_NAMES: dict[str, tuple[str, ...]] = {
    "smpl": (*_BODY, "left_hand", "right_hand"),
    "smplh": (*_BODY, *_FINGERS),
    "smplx": (*_BODY, "jaw", "left_eye_smplhf", "right_eye_smplhf", *_FINGERS),
}
_TYPES = {len(names): kind for kind, names in JOINT_NAMES.items()}
#: Arrays that place the joints, and how many dimensions they have.
_ARRAYS = {"v_template": 2, "J_regressor": 2, "shapedirs": 3, "kintree_table": 2}
#: smplx reads all shape directions only of files with at least so many columns, else ten.
_WIDE = 300
_PICKLE_ADVICE = (
    "unpickling runs code from the file: give an .npz file, or allow_pickle=true if you trust it"
)


class BodyModelError(UserError):
    """A body model that cannot be used, and why."""


@dataclass(frozen=True)
class BodyModel:
    """The joints of a body model at rest.

    Attributes:
        model_type: "smpl", "smplh" or "smplx".
        gender: "neutral", "male" or "female"; "neutral" also where it stands in for another.
        path: the model file.
        parents: (J,) parent of each joint, -1 for the root; J is 24, 52 or 55.
        template: (J, 3) joints of the mean shape (m).
        directions: (J, 3, B) what a unit of each shape coefficient adds to the joints (m).
    """

    model_type: str
    gender: str
    path: Path
    parents: np.ndarray
    template: np.ndarray
    directions: np.ndarray

    @property
    def has_fingers(self) -> bool:
        """Whether the fingers have joints."""
        return _FINGERS[0] in JOINT_NAMES[self.model_type]

    def joints(self, betas: np.ndarray) -> np.ndarray:
        """Return joints (J, 3) in the rest pose (m, SMPL axes).

        Args:
            betas: (N,) shape of any length: the missing ones are zero, those beyond B are ignored.
        """
        count = min(len(betas), self.directions.shape[-1])
        return self.template + self.directions[..., :count] @ np.asarray(betas, float)[:count]


def require_fingers(body_model: BodyModel) -> None:
    """Refuse a body model without finger joints.

    Raises:
        BodyModelError: it is plain SMPL.
    """
    if not body_model.has_fingers:
        raise BodyModelError(
            f"{body_model.path}: {body_model.model_type} has no finger joints: "
            f"use SMPL-H or SMPL-X clips and body model, or fingers=false"
        )


def load_body_model(
    path: str | Path, model_type: str, gender: str, allow_pickle: bool = False
) -> BodyModel:
    """Read a body model.

    Args:
        path: a model file; or a folder in the layout of `smplx` or AMASS, or its subfolder of the
            model type. A folder's file of the wanted gender is taken, `.npz` rather than `.pkl`;
            where there is none, that of the neutral body.
        model_type: "smpl", "smplh" or "smplx", the type of the clips.
        gender: "neutral", "male" or "female"; of a model file, only if its name does not tell.
        allow_pickle: read `.pkl` files and pickled arrays, which runs code from the file.

    Raises:
        BodyModelError: there is no such model, it is damaged or incomplete, of another type, or
            pickled without `allow_pickle`; or `smplx` is not installed.
    """
    path = Path(path)
    if model_type not in JOINT_NAMES:
        raise BodyModelError(f"unknown model type {model_type!r}, expected smpl, smplh or smplx")
    if path.is_dir():
        path = _find(path, model_type, gender)
    elif not path.is_file():
        raise BodyModelError(f"body model {path} does not exist: give a folder or a model file")
    arrays = _read(path, allow_pickle)
    _check(path, arrays, model_type)
    model = _build(path, arrays, model_type)
    regressor, template, shapedirs = (
        getattr(model, key).numpy() for key in ("J_regressor", "v_template", "shapedirs")
    )
    # Columns of zeros at the end are padding.
    used = np.flatnonzero(np.any(shapedirs != 0, axis=(0, 1)))
    width = int(used[-1]) + 1 if len(used) else 0
    return BodyModel(
        model_type=model_type,
        gender=_gender_of(path, gender),
        path=path,
        parents=model.parents.numpy().astype(int),
        template=regressor @ template,
        directions=np.einsum("jv,vkb->jkb", regressor, shapedirs[..., :width], optimize=True),
    )


def _gender_of(path: Path, default: str) -> str:
    """The gender that a model file's name, or the folder of a model.npz, tells."""
    name = (path.parent.name if path.stem.lower() == "model" else path.stem).lower()
    return next((gender for gender in ("neutral", "female", "male") if gender in name), default)


def _find(folder: Path, model_type: str, gender: str) -> Path:
    """The model file of a folder for a type and a gender, or else the neutral one."""
    # Some releases write SMPLH_male: names are compared in lower case.
    files = {
        file.relative_to(folder).as_posix().lower(): file
        for pattern in ("*", "*/*", "*/*/*")
        for file in sorted(folder.glob(pattern))
        if file.suffix in (".npz", ".pkl") and file.is_file()
    }
    for wanted in dict.fromkeys((gender, "neutral")):
        for suffix in (".npz", ".pkl"):
            for name in (f"{model_type}_{wanted}{suffix}", f"{wanted}/model{suffix}"):
                for below in (f"{model_type}/{name}", name):
                    if below in files:
                        return files[below]
    held = ", ".join(file.relative_to(folder).as_posix() for file in files.values())
    raise BodyModelError(
        f"{folder}: no {model_type} model, {gender} or neutral: expected "
        f"{model_type}/{model_type.upper()}_NEUTRAL.npz; there is {held[:300] or 'no model file'}"
    )


def _read(path: Path, allow_pickle: bool) -> dict[str, np.ndarray]:
    """The arrays that place the joints."""
    if path.suffix not in (".npz", ".pkl"):
        raise BodyModelError(f"{path}: expected a body model .npz or .pkl")
    if path.suffix == ".pkl" and not allow_pickle:
        raise BodyModelError(f"{path}: {_PICKLE_ADVICE}")
    try:
        if path.suffix == ".pkl":
            with path.open("rb") as file:
                # The original files were written by Python 2.
                return _select(path, pickle.load(file, encoding="latin1"))
        with path.open("rb") as file:
            if file.read(2) != b"PK":
                raise BodyModelError(f"{path}: is no .npz archive: give a body model file")
        with np.load(path, allow_pickle=allow_pickle) as file:
            return _select(path, file)
    except BodyModelError:
        raise
    except ModuleNotFoundError as error:  # the original files need chumpy and scipy
        raise BodyModelError(
            f"{path}: unpickling needs the package {error.name}: pip install {error.name}, or "
            f"convert the file to .npz"
        ) from error
    except Exception as error:  # what a damaged archive or pickle raises can be anything
        if "allow_pickle" in str(error):
            raise BodyModelError(f"{path}: holds a pickled array: {_PICKLE_ADVICE}") from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BodyModelError(
            f"{path}: damaged or truncated file ({reason}): copy or download it again"
        ) from error


def _select(path: Path, entries: Mapping[str, object]) -> dict[str, np.ndarray]:
    missing = [key for key in _ARRAYS if key not in entries]
    if missing:
        raise BodyModelError(
            f"{path}: no entry {', '.join(missing)}: not a body model of the SMPL family"
        )
    arrays = {}
    for key in _ARRAYS:
        value = entries[key]
        if getattr(value, "shape", None) == () and hasattr(value, "item"):
            value = value.item()  # an object in an .npz
        dense = value.toarray() if hasattr(value, "toarray") else value  # a sparse matrix
        arrays[key] = np.asarray(dense, dtype=np.float64)
    return arrays


def _check(path: Path, arrays: dict[str, np.ndarray], model_type: str) -> None:
    for key, dimensions in _ARRAYS.items():
        if arrays[key].ndim != dimensions or not np.isfinite(arrays[key]).all():
            raise BodyModelError(
                f"{path}: {key} is not finite or has shape {arrays[key].shape}, expected finite "
                f"numbers in {dimensions} dimensions: copy or download the file again"
            )
    joints, vertices = len(arrays["J_regressor"]), len(arrays["v_template"])
    if joints != len(JOINT_NAMES[model_type]):
        raise BodyModelError(
            f"{path}: is a model of {joints} joints ({_TYPES.get(joints, 'unknown')}), expected "
            f"{len(JOINT_NAMES[model_type])} ({model_type}), as the clip has: give that body model"
        )
    shapes = {
        "v_template": (vertices, 3),
        "J_regressor": (joints, vertices),
        "shapedirs": (vertices, 3, arrays["shapedirs"].shape[2]),
        "kintree_table": (2, joints),
    }
    for key, shape in shapes.items():
        if arrays[key].shape != shape:
            raise BodyModelError(f"{path}: {key} has shape {arrays[key].shape}, expected {shape}")
    above = arrays["kintree_table"][0, 1:]
    if np.any((above < 0) | (above >= np.arange(1, joints))):
        raise BodyModelError(f"{path}: kintree_table has a joint that comes before its parent")


def _build(path: Path, arrays: dict[str, np.ndarray], model_type: str) -> torch.nn.Module:
    """The smplx module of these arrays, in float64, silent.

    What smplx asks for beyond them (skin, hand poses, landmarks) has no bearing on the joints of
    the rest pose, and AMASS's files lack some of it: it gets zeros.
    """
    joints, columns = len(arrays["J_regressor"]), arrays["shapedirs"].shape[2]
    if model_type != "smplx" and columns < _WIDE:
        # In narrow SMPL-X files the columns from the eleventh are expressions, not shape.
        padding = ((0, 0), (0, 0), (0, _WIDE - columns))
        arrays = arrays | {"shapedirs": np.pad(arrays["shapedirs"], padding)}
    face = np.zeros((1, 3), dtype=np.int64)
    arrays = arrays | {"f": face, "lmk_faces_idx": face[0], "lmk_bary_coords": np.zeros((3, 3))}
    arrays |= {"weights": np.zeros((1, joints)), "posedirs": np.zeros((1, 3, 9 * (joints - 1)))}
    for side in "lr":
        arrays |= {f"hands_mean{side}": np.zeros(45), f"hands_components{side}": np.zeros((45, 45))}
    # smplx writes to the terminal when a file has few columns, and torch may warn.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import smplx
            import torch
        except ImportError as error:
            advice = "pip install 'mm-torch[retarget]'"
            raise BodyModelError(f"{path}: reading it needs smplx ({error}): {advice}") from error
        options = {"num_betas": _WIDE, "dtype": torch.float64}
        try:
            if model_type == "smpl":
                return smplx.SMPL(str(path), data_struct=SimpleNamespace(**arrays), **options)
            if model_type == "smplh":
                return smplx.SMPLH(str(path), data_struct=SimpleNamespace(**arrays), **options)
            # This class takes a file only.
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(folder) / "SMPLX.npz"
                np.savez(copy, **arrays)
                return smplx.SMPLX(str(copy), ext="npz", **options)
        except Exception as error:
            raise BodyModelError(
                f"{path}: smplx cannot use it ({' '.join(str(error).split())[:200]}): "
                f"give another {model_type} body model"
            ) from error
