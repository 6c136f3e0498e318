"""Body models: joints equal to smplx's own, every layout found, every fault named in a line."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from retarget.body_model import (
    JOINT_NAMES,
    BodyModel,
    BodyModelError,
    load_body_model,
    require_fingers,
)
from retarget.smpl_clip import JOINT_COUNTS
from tests.conftest import ROOT

smplx = pytest.importorskip("smplx", reason="needs smplx: pip install 'mm-torch[retarget]'")

_VERTICES = {"smpl": 6890, "smplh": 6890, "smplx": 10475}


def _parents(joints: int) -> np.ndarray:
    """A tree in which each joint hangs on the one of half its number."""
    parents = (np.arange(joints) - 1) // 2
    parents[0] = 2**32 - 1  # as unsigned files have it
    return parents


def _arrays(model_type: str, betas: int = 16, columns: int | None = None) -> dict[str, np.ndarray]:
    """A synthetic model whose first vertices are its joints; `betas` of `columns` are not zero."""
    joints, vertices = len(JOINT_NAMES[model_type]), _VERTICES[model_type]
    random = np.random.default_rng(0)
    template, regressor = np.zeros((vertices, 3)), np.zeros((joints, vertices))
    template[:joints] = random.normal(0, 0.5, (joints, 3))
    regressor[:, :joints] = np.eye(joints)
    shapedirs = np.zeros((vertices, 3, columns or betas))
    shapedirs[:joints, :, :betas] = random.normal(0, 0.05, (joints, 3, betas))
    return {
        "v_template": template,
        "J_regressor": regressor,
        "shapedirs": shapedirs,
        "kintree_table": np.stack((_parents(joints), np.arange(joints))).astype(np.uint32),
    }


def _skin(model_type: str) -> dict[str, np.ndarray]:
    """What smplx asks for beyond the joints."""
    joints, vertices = len(JOINT_NAMES[model_type]), _VERTICES[model_type]
    weights = np.zeros((vertices, joints))
    weights[:, 0] = 1
    skin = {"f": np.zeros((1, 3), int), "weights": weights,
            "posedirs": np.zeros((vertices, 3, 9 * (joints - 1)), np.float16)}  # fmt: skip
    for side in "lr":
        skin |= {f"hands_mean{side}": np.zeros(45), f"hands_components{side}": np.eye(45)}
    return skin | {"lmk_faces_idx": np.zeros(2, int), "lmk_bary_coords": np.zeros((2, 3))}


def _save(path: Path, **arrays: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    return path


def _refused(path: Path, *words: str, model_type: str = "smplh", **options: object) -> None:
    with pytest.raises(BodyModelError) as caught:
        load_body_model(path, model_type, options.pop("gender", "neutral"), **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def _assert_equals_smplx(model: BodyModel, path: Path, capacity: int) -> None:
    """Compare with smplx's forward pass of the file, whose width lets it read `capacity` betas."""
    import torch

    kind = {"smpl": smplx.SMPL, "smplh": smplx.SMPLH, "smplx": smplx.SMPLX}[model.model_type]
    options = {"ext": path.suffix[1:], "num_betas": capacity, "dtype": torch.float64}
    theirs = kind(str(path), **options)
    random = np.random.default_rng(1)
    for length in (0, 1, capacity, capacity + 7):
        betas = random.normal(0, 2, length)
        padded = np.zeros(capacity)
        padded[: min(length, capacity)] = betas[:capacity]
        with torch.no_grad():
            # At rest the fingers are straight: smplx's default is the mean hand.
            rest = {"betas": torch.tensor(padded)[None]}
            joints = theirs(**rest).joints[0, : len(model.parents)]
        np.testing.assert_allclose(model.joints(betas), joints, atol=1e-6)
    np.testing.assert_array_equal(model.parents, theirs.parents)


def test_names_are_those_of_smplx() -> None:
    from smplx import joint_names

    assert {kind: len(names) for kind, names in JOINT_NAMES.items()} == JOINT_COUNTS
    assert JOINT_NAMES["smplh"] == tuple(joint_names.SMPLH_JOINT_NAMES[:52])
    assert JOINT_NAMES["smplx"] == tuple(joint_names.JOINT_NAMES[:55])
    # smplx has no list for SMPL, whose hands are one joint each.
    assert JOINT_NAMES["smpl"] == (*JOINT_NAMES["smplh"][:22], "left_hand", "right_hand")


@pytest.mark.parametrize("columns", [16, 300])
def test_every_shape_direction_is_read(tmp_path: Path, columns: int) -> None:
    """smplx by itself takes ten of sixteen columns."""
    arrays = _arrays("smplh", betas=16, columns=columns)
    path = _save(tmp_path / "smplh" / "SMPLH_NEUTRAL.npz", **arrays)
    model = load_body_model(tmp_path, "smplh", "neutral")
    assert (model.model_type, model.gender, model.path) == ("smplh", "neutral", path)
    np.testing.assert_allclose(model.template, arrays["v_template"][:52], atol=1e-7)
    np.testing.assert_allclose(model.directions, arrays["shapedirs"][:52, :, :16], atol=1e-8)
    np.testing.assert_array_equal(model.parents[:6], [-1, 0, 0, 1, 1, 2])
    betas = np.arange(16) / 8
    expected = arrays["v_template"][:52] + arrays["shapedirs"][:52, :, :16] @ betas
    np.testing.assert_allclose(model.joints(betas), expected, atol=1e-6)
    np.testing.assert_array_equal(model.joints(np.append(betas, [9, 9])), model.joints(betas))
    np.testing.assert_array_equal(model.joints([0.5]), model.joints([0.5, 0, 0]))
    np.testing.assert_array_equal(model.joints([]), model.template)


def test_synthetic_smplh_equals_smplx(tmp_path: Path) -> None:
    arrays = _arrays("smplh", columns=300)
    path = _save(tmp_path / "SMPLH_MALE.npz", **arrays, **_skin("smplh"))
    model = load_body_model(path, "smplh", "neutral")
    assert model.gender == "male"
    _assert_equals_smplx(model, path, 16)


def test_pickled_smpl_equals_smplx(tmp_path: Path) -> None:
    arrays = _arrays("smpl", betas=10) | _skin("smpl")
    path = tmp_path / "smpl" / "SMPL_FEMALE.pkl"
    path.parent.mkdir()
    path.write_bytes(pickle.dumps(arrays))
    _refused(tmp_path, "runs code", "allow_pickle=true", model_type="smpl", gender="female")
    model = load_body_model(tmp_path, "smpl", "female", allow_pickle=True)
    assert (model.gender, model.directions.shape) == ("female", (24, 3, 10))
    _assert_equals_smplx(model, path, 10)


@pytest.mark.parametrize(("columns", "shape"), [(20, 10), (310, 300)])
def test_smplx_shape_is_told_from_expression(tmp_path: Path, columns: int, shape: int) -> None:
    """Narrow files have ten columns of shape and ten of expression, wide ones three hundred."""
    arrays = _arrays("smplx", betas=columns)
    path = _save(tmp_path / "SMPLX_NEUTRAL.npz", **arrays, **_skin("smplx"))
    model = load_body_model(path, "smplx", "neutral")
    assert model.directions.shape == (55, 3, shape)
    if columns == 20:
        _assert_equals_smplx(model, path, 10)
    np.testing.assert_allclose(model.directions, arrays["shapedirs"][:55, :, :shape], atol=1e-8)


def test_real_smplh_equals_smplx(shared: Path) -> None:
    folder = shared / "data" / "body_models"
    if not folder.is_dir():
        pytest.skip(f"no body models {folder}")
    model = load_body_model(folder, "smplh", "neutral")
    assert model.directions.shape[-1] == 6
    _assert_equals_smplx(model, model.path, 10)
    index = {name: i for i, name in enumerate(JOINT_NAMES["smplh"])}
    joints = model.joints(np.zeros(16))
    # y is up and x to the left.
    assert joints[index["head"], 1] > 0.3 > -0.5 > joints[index["left_ankle"], 1]
    assert joints[index["left_wrist"], 0] > 0.4 and joints[index["right_wrist"], 0] < -0.4
    # A foot points forwards, along z.
    assert joints[index["left_foot"], 2] - joints[index["left_ankle"], 2] > 0.05


def test_layouts_and_genders(tmp_path: Path) -> None:
    arrays = _arrays("smplh", betas=1)
    amass = _save(tmp_path / "amass" / "smplh" / "male" / "model.npz", **arrays)
    neutral = _save(tmp_path / "amass" / "smplh" / "neutral" / "model.npz", **arrays)
    ours = _save(tmp_path / "ours" / "smplh" / "SMPLH_male.npz", **arrays)
    pickled = ours.with_name("SMPLH_MALE.pkl")
    pickled.write_bytes(pickle.dumps(arrays))
    for folder, gender, path, recorded in (
        ("amass", "male", amass, "male"),
        ("amass/smplh", "male", amass, "male"),
        ("amass", "female", neutral, "neutral"),
        ("amass/smplh/neutral", "female", None, ""),
        ("amass/smplh/neutral/model.npz", "female", neutral, "neutral"),
        ("ours", "male", ours, "male"),
        ("ours/smplh", "male", ours, "male"),
        ("ours/smplh/SMPLH_MALE.pkl", "male", pickled, "male"),
    ):
        if path is None:
            _refused(tmp_path / folder, "no smplh model", "there is model.npz")
            continue
        model = load_body_model(tmp_path / folder, "smplh", gender, allow_pickle=True)
        assert (model.path, model.gender) == (path, recorded)
    _refused(tmp_path / "ours", "female or neutral", "smplh/SMPLH_male.npz", gender="female")
    _refused(tmp_path / "ours", "no smplx model", "SMPLH_male", model_type="smplx")


def test_other_types_are_refused(tmp_path: Path) -> None:
    path = _save(tmp_path / "SMPLH_NEUTRAL.npz", **_arrays("smplh", betas=1))
    _refused(path, "52 joints (smplh)", "expected 55 (smplx)", model_type="smplx")
    _refused(path, "unknown model type 'mano'", model_type="mano")
    (tmp_path / "empty").mkdir()
    _refused(tmp_path / "empty", "there is no model file")
    _refused(tmp_path / "none", "does not exist")


def test_fingers_can_be_required(tmp_path: Path) -> None:
    plain = load_body_model(_save(tmp_path / "a.npz", **_arrays("smpl", 1)), "smpl", "female")
    handed = load_body_model(_save(tmp_path / "b.npz", **_arrays("smplh", 1)), "smplh", "female")
    assert plain.gender == handed.gender == "female"
    assert handed.has_fingers and not plain.has_fingers
    require_fingers(handed)
    with pytest.raises(BodyModelError, match=r"a\.npz: smpl has no finger joints"):
        require_fingers(plain)


class _Runs:
    """Creates a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_nothing_is_unpickled_unasked(tmp_path: Path) -> None:
    trap = np.array([_Runs(tmp_path / "ran")], dtype=object)
    arrays = _arrays("smplx", betas=1)
    # SMPL-X files have entries of this kind; smplx itself opens them.
    load_body_model(_save(tmp_path / "a.npz", **arrays, joint2num=trap), "smplx", "neutral")
    path = _save(tmp_path / "b.npz", **(arrays | {"J_regressor": trap}))
    _refused(path, "pickled array", "allow_pickle=true", model_type="smplx")
    path = tmp_path / "c.pkl"
    path.write_bytes(pickle.dumps(_Runs(tmp_path / "ran")))
    _refused(path, "runs code", "allow_pickle=true")
    assert not (tmp_path / "ran").exists()


class _Sparse:
    """A matrix as scipy's sparse ones are: the original files hold their regressor so."""

    def __init__(self, dense: np.ndarray) -> None:
        self.dense, self.shape = dense, dense.shape

    def toarray(self) -> np.ndarray:
        return self.dense


def test_sparse_regressor(tmp_path: Path) -> None:
    arrays = _arrays("smplh", betas=2)
    expected = load_body_model(_save(tmp_path / "a.npz", **arrays), "smplh", "neutral")
    (tmp_path / "b.pkl").write_bytes(
        pickle.dumps(arrays | {"J_regressor": _Sparse(arrays["J_regressor"])})
    )
    wrapped = np.array(None, dtype=object)
    wrapped[()] = _Sparse(arrays["J_regressor"])
    _save(tmp_path / "c.npz", **(arrays | {"J_regressor": wrapped}))
    for name in ("b.pkl", "c.npz"):
        model = load_body_model(tmp_path / name, "smplh", "neutral", allow_pickle=True)
        np.testing.assert_array_equal(model.directions, expected.directions)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"J_regressor": None}, ("no entry J_regressor",)),
        ({"v_template": None, "shapedirs": None}, ("no entry v_template, shapedirs",)),
        ({"v_template": np.zeros(30)}, ("v_template", "(30,)")),
        ({"v_template": np.full((6890, 3), np.nan)}, ("v_template is not finite",)),
        ({"v_template": np.zeros((6800, 3))}, ("J_regressor", "(52, 6890)", "(52, 6800)")),
        ({"shapedirs": np.zeros((6890, 2, 1))}, ("shapedirs", "(6890, 3, 1)")),
        ({"kintree_table": np.full((2, 52), 60)}, ("kintree_table", "before its parent")),
    ],
)
def test_incomplete_models(
    tmp_path: Path, changes: dict[str, object], words: tuple[str, ...]
) -> None:
    arrays = _arrays("smplh", betas=1) | changes
    kept = {key: value for key, value in arrays.items() if value is not None}
    _refused(_save(tmp_path / "SMPLH_NEUTRAL.npz", **kept), "SMPLH_NEUTRAL.npz", *words)


def test_damaged_files(tmp_path: Path) -> None:
    path = _save(tmp_path / "SMPLH_NEUTRAL.npz", **_arrays("smplh", betas=1))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    _refused(path, "damaged or truncated")
    path.write_bytes(b"this is text")
    _refused(path, "no .npz archive")
    path.with_suffix(".pkl").write_bytes(pickle.dumps(_arrays("smplh", betas=1))[:5000])
    _refused(path.with_suffix(".pkl"), "damaged or truncated", allow_pickle=True)
    path.with_suffix(".pkl").write_bytes(b"cno_such_package\nthing\n.")
    _refused(path.with_suffix(".pkl"), "pip install no_such_package", allow_pickle=True)
    path.with_suffix(".txt").write_text("")
    _refused(path.with_suffix(".txt"), "expected a body model .npz or .pkl")


def test_without_smplx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _save(tmp_path / "SMPLH_NEUTRAL.npz", **_arrays("smplh", betas=1))
    monkeypatch.setitem(sys.modules, "smplx", None)
    _refused(path, "pip install 'mm-torch[retarget]'")


def test_silent_and_lazy(tmp_path: Path) -> None:
    """smplx's warnings stay off the terminal; importing the module loads neither it nor torch."""
    for model_type in ("smpl", "smplh", "smplx"):
        _save(tmp_path / f"{model_type}_neutral.npz", **_arrays(model_type, betas=4))
    code = (
        "import sys, retarget.body_model as b\n"
        "assert not {'torch', 'smplx'} & set(sys.modules)\n"
        f"[b.load_body_model({str(tmp_path)!r}, t, 'neutral') for t in b.JOINT_NAMES]"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
