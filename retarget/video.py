"""Writes MP4 files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cfg import UserError


def check_video(path: Path) -> None:
    """Check that a video can be written.

    Raises:
        UserError: no such folder, no .mp4, or imageio-ffmpeg is not installed.
    """
    if path.suffix != ".mp4":
        raise UserError(f"video={path}: expected a file that ends in .mp4")
    if not path.resolve().parent.is_dir():
        raise UserError(f"video={path}: its folder does not exist")
    try:
        import imageio_ffmpeg  # noqa: F401
    except ImportError as error:
        raise UserError("video= needs imageio-ffmpeg: pip install 'mm-torch[video]'") from error


def write_video(path: Path, images: Iterator[np.ndarray], fps: float) -> None:
    """Write images as an MP4, whole or not at all.

    Raises:
        UserError: there are no images.
    """
    import imageio_ffmpeg

    handle, temporary = tempfile.mkstemp(dir=path.resolve().parent, suffix=".tmp.mp4")
    os.close(handle)
    writer = None
    try:
        for image in images:
            if writer is None:
                height, width = image.shape[:2]
                writer = imageio_ffmpeg.write_frames(
                    temporary, (width, height), fps=fps, quality=7, macro_block_size=2,
                    output_params=["-loglevel", "error"],
                )  # fmt: skip
                writer.send(None)
            writer.send(np.ascontiguousarray(image))
        if writer is None:
            raise UserError(f"video={path}: there is no frame to show: ask for a longer time")
        writer.close()
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        if writer is not None:
            writer.close()
        Path(temporary).unlink(missing_ok=True)
