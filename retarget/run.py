"""Retargets many clips: in parallel, resumably, reporting broken ones and going on.

Every finished clip leaves a result file in `out/results`, written after its motion file; a later
run with the same settings skips it. Both are written whole or not at all.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
import traceback
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from cfg.errors import UserError
from retarget.motion import Motion
from retarget.motion_set import INDEX, write_index
from retarget.pipeline import Retargeter, Source, settings_that_matter, timed_solve
from retarget.report import ClipResult
from retarget.solve import Solution

RESULTS = "results"
REJECTED = "rejected"
Item = tuple[str, str]  # a clip's name and file


class OutputError(UserError):
    """The output folder cannot be written or belongs to another run."""


def run(
    config: DictConfig,
    clips: Sequence[tuple[str, Path]],
    done: Callable[[ClipResult], None] = lambda result: None,
) -> list[ClipResult]:
    """Retarget clips into `config.out` and return the results of all that are there.

    Args:
        config: the settings.
        clips: name and file of each.
        done: called for each clip as it is finished (not for those that were there before).

    Raises:
        UserError: the settings, or the output folder, cannot be used.
    """
    out = Path(config.out)
    make_folders(out)
    before = load_results(out, config)
    todo = [(name, str(path)) for name, path in _unfinished(config, clips, before)]
    if config.overwrite:
        # So that, once interrupted, a run without overwrite=true goes on where this one was.
        for name, _ in todo:
            (out / RESULTS / f"{name}.json").unlink(missing_ok=True)
    for result in _work(config, batches(todo, config.batch_frames)):
        before[result.name] = result
        done(result)
    results = [before[name] for name in sorted(before)]
    write_indices(out, config.embodiment, results)
    return results


def pending(config: DictConfig, clips: Sequence[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """The clips that are not in `config.out` yet.

    Raises:
        OutputError: what is there was made with other settings.
    """
    return _unfinished(config, clips, load_results(Path(config.out), config))


def _unfinished(
    config: DictConfig, clips: Sequence[tuple[str, Path]], before: dict[str, ClipResult]
) -> list[tuple[str, Path]]:
    done = {name for name, result in before.items() if result.error is None}
    return [(name, path) for name, path in clips if config.overwrite or name not in done]


def batches(items: Sequence[Item], frames: int) -> list[list[Item]]:
    """Group clips so that each group has at most about `frames` source frames."""
    groups: list[list[Item]] = []
    room = 0
    for name, path in items:
        count = count_frames(path)
        if not groups or room < count:
            groups.append([])
            room = frames
        groups[-1].append((name, path))
        room -= count
    return groups


def count_frames(path: str | Path) -> int:
    """Frames of a clip by its header alone, 0 where that cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            key = next(k for k in ("poses", "root_orient") if f"{k}.npy" in archive.namelist())
            with archive.open(f"{key}.npy") as entry:
                form = np.lib.format
                first = form.read_magic(entry) == (1, 0)
                read = form.read_array_header_1_0 if first else form.read_array_header_2_0
                return int(read(entry)[0][0])
    except Exception:  # zlib, struct and other errors: what is wrong is said when it is read
        return 0


def make_folders(out: Path) -> None:
    """Make the output folders.

    Raises:
        OutputError: they cannot be made.
    """
    try:
        for folder in (out, out / RESULTS):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"out={out}: cannot be made ({error.strerror or error})") from error


def load_results(out: Path, config: DictConfig) -> dict[str, ClipResult]:
    """Results of clips that are in a folder already.

    Left out are clips that failed with other settings and, where all is to be overwritten, clips
    made with other settings.

    Raises:
        OutputError: they were made with other settings.
    """
    wanted = settings_that_matter(config)
    found = {}
    for path in sorted((out / RESULTS).glob("*.json")):
        try:
            record = json.loads(path.read_text())
            settings, result = dict(record["settings"]), ClipResult.from_dict(record["result"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # of no use: the clip is done again
        different = [key for key in wanted if settings.get(key) != wanted[key]]
        if different and (config.overwrite or result.error is not None):
            continue
        if different:
            key = different[0]
            raise OutputError(
                f"out={out}: was made with {key}={settings.get(key)}, now {key}={wanted[key]}: "
                f"give another folder, or overwrite=true to do its clips again"
            )
        motion = _motion_file(out, result)
        if result.error is not None or motion.is_file():
            found[result.name] = result
    return found


def _motion_file(out: Path, result: ClipResult) -> Path:
    return (out / REJECTED if result.rejected else out) / f"{result.name}.npz"


def _work(config: DictConfig, groups: list[list[Item]]) -> Iterator[ClipResult]:
    workers = config.workers or (1 if config.device == "cuda" else os.cpu_count() or 1)
    workers = min(workers, len(groups))
    if workers <= 1:
        retargeter = Retargeter(config) if groups else None
        for group in groups:
            yield from retarget_batch(retargeter, group)
        return
    values = OmegaConf.to_container(config)
    threads = max(1, (os.cpu_count() or 1) // workers)
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _start_worker, (values, threads)
    )
    waiting = {pool.submit(_batch_in_worker, group) for group in groups}
    try:
        while waiting:
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                yield from future.result()
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process died, probably out of memory: give fewer workers or batch_frames; "
            "clips that are finished are kept"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_config: DictConfig | None = None
_worker: Retargeter | None = None


def _start_worker(values: dict, threads: int) -> None:
    global _config
    torch.set_num_threads(threads)
    _config = OmegaConf.create(values)


def _batch_in_worker(group: list[Item]) -> list[ClipResult]:
    # Made here, not at the start: there an error would break the pool instead of being raised.
    global _worker
    _worker = _worker or Retargeter(_config)
    return list(retarget_batch(_worker, group))


def retarget_batch(retargeter: Retargeter, group: Sequence[Item]) -> Iterator[ClipResult]:
    """Retarget clips together and write them; a clip that cannot be done yields its error.

    Raises:
        OutputError: a file cannot be written (a full disk would stop every clip).
    """
    sources: list[Source] = []
    for name, path in group:
        try:
            sources.append(retargeter.prepare(path, name))
        except Exception as error:
            yield _failed(retargeter, name, path, error)
    for source, solution in _solve(retargeter, sources):
        clip = source.clip
        if isinstance(solution, Exception):
            yield _failed(retargeter, clip.name, str(clip.path), solution)
            continue
        try:
            motion, result = retargeter.finish(source, solution[0], solution[1])
        except Exception as error:
            yield _failed(retargeter, clip.name, str(clip.path), error)
            continue
        _write(retargeter, motion, result)
        yield result


def _solve(
    retargeter: Retargeter, sources: Sequence[Source]
) -> Iterator[tuple[Source, tuple[Solution, float] | Exception]]:
    """Solve clips together: solution and seconds of each, or why there is none."""
    if not sources:
        return
    try:
        solutions, seconds = timed_solve(retargeter, sources)
    except Exception as error:
        if len(sources) == 1:
            yield sources[0], error
            return
        # One clip is to blame: the others are solved by themselves.
        for source in sources:
            yield from _solve(retargeter, [source])
        return
    for source, solution in zip(sources, solutions, strict=True):
        yield source, (solution, seconds * len(source.position))


def _failed(retargeter: Retargeter, name: str, path: str, error: Exception) -> ClipResult:
    text = str(error) if isinstance(error, UserError) else _last_line(error)
    result = ClipResult(
        name=name, frames=0, fps=retargeter.config.fps, seconds=0.0, error=text, source=path
    )
    _write_result(retargeter.config, result)
    return result


def _last_line(error: Exception) -> str:
    spot = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} (in {Path(spot.filename).name}, line {spot.lineno})"


def _write(retargeter: Retargeter, motion: Motion, result: ClipResult) -> None:
    out = Path(retargeter.config.out)
    path = _motion_file(out, result)
    try:
        motion.save(path)
        # A clip that was rejected (or accepted) by earlier thresholds is not left behind.
        other = (out if result.rejected else out / REJECTED) / path.name
        other.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}): clips that are finished are "
            f"kept, run again to go on"
        ) from error
    _write_result(retargeter.config, result)


def _write_result(config: DictConfig, result: ClipResult) -> None:
    path = Path(config.out) / RESULTS / f"{result.name}.json"
    record = {"settings": settings_that_matter(config), "result": result.to_dict()}
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(handle, "w") as file:
            json.dump(record, file)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


def write_indices(out: Path, embodiment: str, results: Sequence[ClipResult]) -> None:
    """Write the index of the motion set, and of the rejected clips next to it."""
    whole = [result for result in results if result.error is None]
    for folder, chosen in (
        (out, [result for result in whole if not result.rejected]),
        (out / REJECTED, [result for result in whole if result.rejected]),
    ):
        clips = [
            {
                "name": result.name,
                "file": f"{result.name}.npz",
                "frames": result.frames,
                "fps": result.fps,
                "source": result.source,
            }
            for result in chosen
        ]
        try:
            if clips:
                write_index(folder, embodiment, clips)
            else:
                (folder / INDEX).unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written ({error.strerror or error})") from error
