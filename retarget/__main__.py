"""Command line: `python -m retarget motions=DIR body_model=DIR embodiment=NAME out=DIR`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from cfg.opengl import choose_offscreen

if sys.argv[1:2] == ["show"]:  # MuJoCo reads it when it is imported
    choose_offscreen()

from omegaconf import DictConfig, OmegaConf

from cfg import UserError, load_settings
from cfg.help import describe

USAGE = """
usage: python -m retarget motions=DIR body_model=DIR embodiment=NAME out=DIR [key=value]
       python -m retarget show CLIP video=FILE.mp4 [key=value]
       python -m retarget vary motions=DIR out=DIR [key=value]
       python -m retarget loop motions=DIR out=DIR strides=N [key=value]

Retargets SMPL-format motion capture (AMASS layout) to reference motions of a body, and reports how
good they are. `show` draws a result beside its source, `vary` writes variants of a set's clips,
`loop` plays their gait cycles over and over; `python -m retarget show --help`, `vary --help` and
`loop --help` say more.
Motions in other formats: python -m retarget.importers --help

Settings (key=default  meaning):
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return the exit status."""
    arguments = list(arguments)
    try:
        if arguments[:1] == ["show"]:
            from retarget.show import main as show

            return show(arguments[1:])
        if arguments[:1] == ["vary"]:
            from retarget.vary import main as vary

            return vary(arguments[1:])
        if arguments[:1] == ["loop"]:
            from retarget.loop import main as loop

            return loop(arguments[1:])
        return _retarget(arguments)
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "interrupted: the same command, without overwrite=true, goes on from here",
            file=sys.stderr,
        )
        return 130


def _retarget(arguments: list[str]) -> int:
    # Imported here, so that the package can be read without torch.
    from retarget.progress import Progress
    from retarget.report import Thresholds, write_report
    from retarget.report_table import clip_table
    from retarget.run import OutputError, pending, run
    from retarget.settings import RetargetConfig
    from retarget.smpl_clip import find_clips

    if {"-h", "--help", "help"} & set(arguments) or not arguments:
        print(USAGE.strip() + "\n" + "\n".join(describe(RetargetConfig)))
        return 0
    config = load_settings(RetargetConfig, arguments)
    for key in ("motions", "body_model", "out"):
        if config[key] is None:
            raise UserError(f"{key}= is missing: --help says what it is")
    clips = find_clips(config.motions, config.only)
    _check(config)
    todo = pending(config, clips)
    if len(todo) < len(clips):
        print(f"{len(clips) - len(todo)} of {len(clips)} clips are in {config.out} already")
    progress = Progress(len(todo), _write_error, sys.stderr.isatty())
    try:
        results = run(config, clips, progress.update)
    finally:
        progress.close()
    thresholds = Thresholds(**OmegaConf.to_container(config.reject))
    try:
        write_report(config.out, results, thresholds)
    except OSError as error:
        raise OutputError(
            f"out={config.out}: the report cannot be written ({error.strerror or error}): clips "
            f"that are finished are kept, run again"
        ) from error
    print(clip_table(results))
    accepted = [result for result in results if result.error is None and not result.rejected]
    print(
        f"{len(accepted)} of {len(results)} clips accepted: {config.out} "
        f"(report.json, report.csv; rejected clips in {config.out}/rejected)"
    )
    return 0 if accepted else 1


def _check(config: DictConfig) -> None:
    """Refuse what would fail every clip, or mix motions with the clips they are made from."""
    if not Path(config.body_model).exists():
        raise UserError(f"body_model={config.body_model}: no such folder or model file")
    if find_spec("smplx") is None:
        raise UserError("reading body models needs smplx: pip install 'mm-torch[retarget]'")
    motions, out = Path(config.motions).resolve(), Path(config.out).resolve()
    if out == motions.parent if motions.is_file() else out.is_relative_to(motions):
        raise UserError(
            f"out={config.out}: is where the clips of motions={config.motions} are, which must not "
            f"mix with the result: give a folder outside"
        )


def _write_error(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
