import json
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from cfg import UserError
from retarget.__main__ import main
from retarget.motion_set import load_motion_set
from retarget.show import chosen_frames, heading, smooth
from retarget.video import write_video
from tests.conftest import ROOT, body


@pytest.fixture(scope="module")
def result(tmp_path_factory, shared):
    """A retargeted clip of the arms, 3.6 s, and the folder it is in."""
    clip = shared / "data" / "amass" / "CMU" / "02" / "02_02_poses.npz"
    if not clip.is_file():
        pytest.skip(f"no motion capture: {clip} is absent")
    out = tmp_path_factory.mktemp("show") / "set"
    status = main(
        [f"motions={clip}", f"body_model={shared / 'data' / 'body_models'}", f"out={out}",
         "embodiment=bimanual", "activations=false", "workers=1"]
    )  # fmt: skip
    assert status == 0
    return out / "02_02.npz"


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch):
    monkeypatch.setattr("retarget.show.load_embodiment", body)


def test_video_has_the_frames_asked_for(result, tmp_path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    video = tmp_path / "clip.mp4"
    # A process of its own: OpenGL is chosen when MuJoCo is imported.
    done = subprocess.run(
        [sys.executable, "-m", "retarget", "show", str(result), f"video={video}", "seconds=0.4",
         "width=128", "height=64", "fps=10"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    if "no off-screen OpenGL" in done.stderr:
        pytest.skip("this machine has neither EGL nor OSMesa")
    assert done.returncode == 0, done.stderr
    assert "5 frames" in done.stdout
    reader = imageio_ffmpeg.read_frames(str(video))
    assert next(reader)["size"] == (128, 64)
    images = [np.frombuffer(frame, np.uint8).reshape(64, 128, 3) for frame in reader]
    assert len(images) == 5
    left, right = images[0][:, :64].astype(int), images[0][:, 64:].astype(int)
    assert np.abs(left - right).max() > 60  # a skeleton here, a body there
    assert images[0][-10:].mean() > 25  # the floor is lit (37; 13 where the lights are not placed)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.mp4"]


def test_a_video_of_nothing_is_refused_and_leaves_no_file(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    with pytest.raises(UserError, match=r"clip\.mp4: there is no frame to show"):
        write_video(tmp_path / "clip.mp4", iter(()), 10.0)
    assert not list(tmp_path.iterdir())


def test_frames_follow_time_and_speed():
    motion = load_motion_set(ROOT / "data/demo/bimanual", body("bimanual", False))[0]
    frames = chosen_frames(motion, 0.5, 1.0, 25.0, 1.0)
    assert frames.tolist() == list(range(50, 151, 4))
    assert len(chosen_frames(motion, 0.0, 1.0, 25.0, 0.5)) == 51
    with pytest.raises(UserError, match="start=100: the clip is"):
        chosen_frames(motion, 100.0, None, 25.0, 1.0)


def test_heading_is_square_to_the_hips():
    left = np.array([[0.0, 0.2, 0.1], [1.0, 0.0, 0.0], [0.0, 0.0, 0.3]])
    # Left is +y: faces +x. Left is +x: faces -y. Left is up (lying on a side): nowhere.
    assert np.allclose(heading(left), [[0.2, 0.0], [0.0, -1.0], [0.0, 0.0]])


def test_smoothing_has_no_delay_and_keeps_lines():
    time = np.arange(200.0)
    line = np.stack((3.0 * time, np.full(200, 2.0)), axis=1)
    assert np.allclose(smooth(line, 10.0)[31:-31], line[31:-31])
    pulse = np.zeros((201, 1))
    pulse[100] = 1.0
    spread = smooth(pulse, 10.0)[:, 0]
    assert np.argmax(spread) == 100
    assert spread.max() == pytest.approx(1 / (10 * np.sqrt(2 * np.pi)), rel=0.01)


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["absent.npz", "video=a.mp4"], "motion file absent.npz does not exist"),
        (["video=a.mp4"], "expected a motion file first"),
        (["absent.npz"], "video= is missing"),
        (["absent.npz", "video=a.mp4", "widht=3"], "did you mean 'width'"),
        (["absent.npz", "video=a.mp4", "camera=top"], "camera=top: expected one of follow"),
        (["absent.npz", "video=a.mp4", "seconds=-1"], "seconds=-1.0: expected a number"),
    ],
)
def test_mistakes_are_one_line(arguments, text, capsys):
    assert main(["show", *arguments]) == 2
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1


def test_a_source_that_has_gone_is_named(result, tmp_path, capsys):
    motion = load_motion_set(result, body("bimanual", False))[0]
    record = json.loads(motion.provenance) | {"source": "/nowhere/clip.npz"}
    replace(motion, provenance=json.dumps(record)).save(tmp_path / "moved.npz")
    assert main(["show", str(tmp_path / "moved.npz"), f"video={tmp_path / 'a.mp4'}"]) == 2
    assert "/nowhere/clip.npz, which is gone: give motions=" in capsys.readouterr().err
    replace(motion, provenance="").save(tmp_path / "unknown.npz")
    assert main(["show", str(tmp_path / "unknown.npz"), f"video={tmp_path / 'a.mp4'}"]) == 2
    assert "does not say what it was made from" in capsys.readouterr().err


def test_a_video_that_cannot_be_written(result, tmp_path, capsys):
    for video, text in ((tmp_path / "a.avi", "ends in .mp4"), (tmp_path / "no/a.mp4", "folder")):
        assert main(["show", str(result), f"video={video}"]) == 2
        assert text in capsys.readouterr().err


@pytest.mark.parametrize("text", ["no JSON", "[1]", '{"source": "clip.npz"}'])
def test_damaged_provenance_is_one_line(result, tmp_path, capsys, text):
    motion = load_motion_set(result, body("bimanual", False))[0]
    replace(motion, provenance=text).save(tmp_path / "bad.npz")
    assert main(["show", str(tmp_path / "bad.npz"), f"video={tmp_path / 'a.mp4'}"]) == 2
    error = capsys.readouterr().err
    assert "bad.npz: damaged provenance" in error and error.count("\n") == 1


def test_paths_given_in_place_of_the_recorded_ones(result, tmp_path, capsys):
    video = f"video={tmp_path / 'a.mp4'}"
    for setting, text in (
        ("motions=/nowhere/clip.npz", "motions=/nowhere/clip.npz: does not exist"),
        (f"motions={tmp_path}", "is a folder, expected the one .npz clip"),
        ("body_model=/nowhere", "body_model=/nowhere: does not exist"),
    ):
        assert main(["show", str(result), video, setting]) == 2
        assert text in capsys.readouterr().err


def test_a_motion_file_cannot_allow_unpickling(result, tmp_path, capsys):
    model, ran = tmp_path / "model.pkl", tmp_path / "ran"
    # On loading: open(ran, "w").
    model.write_bytes(pickle.dumps(_Opens(str(ran))))
    motion = load_motion_set(result, body("bimanual", False))[0]
    record = json.loads(motion.provenance)
    record |= {"body_model": str(model), "settings": record["settings"] | {"allow_pickle": True}}
    replace(motion, provenance=json.dumps(record)).save(tmp_path / "clip.npz")
    assert main(["show", str(tmp_path / "clip.npz"), f"video={tmp_path / 'a.mp4'}"]) == 2
    assert "unpickling runs code" in capsys.readouterr().err
    assert not ran.exists()


class _Opens:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")
