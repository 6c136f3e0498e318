"""`python -m mm_torch.export`: a trained policy as one network, for use without this project."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cfg import UserError
from mm_torch.action import MeanExcitation
from mm_torch.command_line import run_command, split_arguments
from mm_torch.policy_description import describe_policy
from mm_torch.policy_loading import LoadedPolicy, load_policy

USAGE = """
usage: python -m mm_torch.export checkpoint=FILE out=FILE.onnx|FILE.pt2 [key=value ...]

Writes a trained policy as one network: raw observation (batch, obs_dim) in, muscle excitation
(batch, nu) out, float32, the normaliser inside, no noise. The file is read back and compared with
the policy on the training clips before it appears.
  checkpoint=FILE   a checkpoint written by training
  out=FILE.onnx     for ONNX Runtime and the like; needs pip install 'mm-torch[export]'
  out=FILE.pt2      for torch.export.load, in Python with torch alone
What the entries of the observation are, the muscles' names and every setting go with it as JSON:
ONNX's metadata "mm_torch", the extra file "mm_torch.json" of a .pt2.
Other key=value settings override the checkpoint's, such as motions=SET.
"""
KEY = "mm_torch"
_TOLERANCE = 1e-4  # excitation; float32 sums in another order differ by some 1e-6
_STEPS = 20


class ExcitationNetwork(nn.Module):
    """Observation to excitation, as `forward`, which is what exporters follow."""

    def __init__(self, act: MeanExcitation) -> None:
        super().__init__()
        self.act = act

    def forward(self, observation: Tensor) -> Tensor:
        """Return excitations (batch, nu) for raw observations (batch, obs_dim)."""
        return self.act.excitation(observation)


def write_pt2(network: nn.Module, example: Tensor, description: str, path: Path) -> None:
    """Write a network as a program of torch.export."""
    shapes = {"observation": {0: torch.export.Dim("batch")}}
    program = torch.export.export(network, (example,), dynamic_shapes=shapes)
    torch.export.save(program, path, extra_files={f"{KEY}.json": description})


def write_onnx(network: nn.Module, example: Tensor, description: str, path: Path) -> None:
    """Write a network as an ONNX model."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns that torchvision, which nothing here needs, is absent
    try:
        program = torch.onnx.export(
            network, (example,), dynamo=True, verbose=False, input_names=["observation"],
            output_names=["excitation"],
            dynamic_shapes={"observation": {0: torch.export.Dim("batch")}},
        )  # fmt: skip
    finally:
        logger.setLevel(level)
    program.model.metadata_props[KEY] = description
    program.save(path)


def read_pt2(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return what a written program computes."""
    module = torch.export.load(path).module()
    return lambda observation: module(torch.from_numpy(observation)).detach().numpy()


def read_onnx(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return what a written model computes, by the evaluator that defines ONNX's operators."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(path))
    return lambda observation: evaluator.run(None, {"observation": observation})[0]


FORMATS = {".onnx": (write_onnx, read_onnx), ".pt2": (write_pt2, read_pt2)}


def main(arguments: Sequence[str]) -> int:
    """Export; return the exit status."""
    own, settings = split_arguments(arguments, ("checkpoint", "out"))
    for key in ("checkpoint", "out"):
        if key not in own:
            raise UserError(f"{key}= is missing: see python -m mm_torch.export --help")
    out = Path(own["out"])
    _check(out)
    loaded = load_policy(own["checkpoint"], settings)
    description = describe_policy(loaded)
    observed = _observations(loaded)
    network = ExcitationNetwork(loaded.act).cpu().eval()
    with torch.no_grad():
        expected = network(observed).numpy()
    write, read = FORMATS[out.suffix]
    temporary = out.with_name(f"{out.stem}.tmp{out.suffix}")
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # torch's, of its own deprecated parts
            write(network, observed[:2], json.dumps(description), temporary)
            got = read(temporary)(observed.numpy())
        difference = float(np.abs(got - expected).max())
        if not difference < _TOLERANCE:
            raise UserError(
                f"out={out}: not written: what was read back differs from the policy by "
                f"{difference:.1e}: this release of torch or onnx writes it wrong, try the other "
                f"of {' and '.join(FORMATS)}"
            )
        os.replace(temporary, out)
    except OSError as error:
        raise UserError(f"out={out}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)
    print(
        f"wrote {out}: observation (batch, {observed.shape[1]}) to excitation "
        f"(batch, {expected.shape[1]}); on {len(observed)} observations it differs from the policy "
        f"by at most {difference:.0e}"
    )
    return 0


def _check(out: Path) -> None:
    if out.suffix not in FORMATS:
        raise UserError(f"out={out}: expected a name that ends in {' or '.join(FORMATS)}")
    if not out.resolve().parent.is_dir():
        raise UserError(f"out={out}: its folder does not exist")
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if out.suffix == ".onnx" and missing:
        raise UserError(f"{missing[0]} is missing: pip install 'mm-torch[export]', or give a .pt2")


@torch.no_grad()
def _observations(loaded: LoadedPolicy) -> Tensor:
    """Observations (n, obs_dim) of the first steps of every clip, under the policy, on the CPU."""
    seen = []
    for _ in range(_STEPS):
        observation = loaded.task.observe()
        seen.append(observation.cpu())
        loaded.task.step(loaded.act(observation))
    observations = torch.cat(seen)
    return observations[observations.isfinite().all(dim=1)]  # a simulation may have failed


if __name__ == "__main__":
    sys.exit(run_command(main, USAGE, settings=False))
