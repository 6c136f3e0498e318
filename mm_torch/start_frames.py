"""Where episodes start: anywhere, or more often where episodes fail.

Starting more often ahead of what fails (as in BeyondMimic, Liao et al. 2025, arXiv:2508.08241)
keeps easy stretches of the motions from filling most of the experience.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mm_torch.motion_library import MotionLibrary


class UniformStarts:
    """A random clip, and a random frame of it; or its first frame."""

    def __init__(self, library: MotionLibrary, first: bool = False) -> None:
        """Args: ``first``: always the clip's first frame."""
        self._library, self._first = library, first

    def observe(self, clip: Tensor, frame: Tensor, terminated: Tensor) -> None:
        """Nothing is learnt from how episodes go."""

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw clips and frames, (count,) each."""
        clip = self._library.sample_clips(count, generator)
        if self._first:
            return clip, torch.zeros_like(clip)
        return clip, self._library.sample_frames(clip, generator)

    def state_dict(self) -> dict[str, Tensor]:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Nothing to restore."""


class FailureWeightedStarts:
    """Frames drawn by how often episodes fail in the stretch that follows.

    Clips are cut into bins of `width` frames. A bin's failure rate is the share of world-steps in
    it that ended in a termination, forgotten over `memory` control steps. A start in bin i has the
    weight sum_j decay^j rate(i + j) over the bins that follow in its clip, mixed with a uniform
    draw of weight `floor`. Nothing waits for the device.
    """

    def __init__(
        self,
        library: MotionLibrary,
        width: int = 25,
        floor: float = 0.3,
        decay: float = 0.7,
        memory: float = 500.0,
    ) -> None:
        """Cut the clips of a library into bins."""
        self._library, self._width, self._floor = library, width, floor
        self._keep = 1.0 - 1.0 / memory
        lengths = library.lengths
        counts = (lengths - 1 + width - 1).div(width, rounding_mode="floor").clamp_min(1)
        self._offsets, self._counts = counts.cumsum(0) - counts, counts
        total, device = int(counts.sum()), lengths.device
        self._clip = torch.repeat_interleave(torch.arange(len(lengths), device=device), counts)
        self._first = (torch.arange(total, device=device) - self._offsets[self._clip]) * width
        last = lengths[self._clip] - 1  # no episode starts on a clip's last frame
        self._size = torch.minimum(last - self._first, torch.full_like(last, width))
        ahead = torch.arange(total, device=device)
        distance = ahead.unsqueeze(0) - ahead.unsqueeze(1)
        same = self._clip.unsqueeze(0) == self._clip.unsqueeze(1)
        # (bins, bins): what a failure in a later bin of the same clip counts for a start here.
        self._kernel = torch.where(same & (distance >= 0), decay ** distance.clamp_min(0), 0.0)
        self.failed = torch.zeros(total, device=device)
        self.visited = torch.zeros(total, device=device)

    def observe(self, clip: Tensor, frame: Tensor, terminated: Tensor) -> None:
        """Take in a step that led worlds to (nworld,) frames of clips, and which it terminated."""
        bin_ = self._offsets[clip] + frame.div(self._width, rounding_mode="floor")
        bin_ = torch.minimum(bin_, self._offsets[clip] + self._counts[clip] - 1)
        ones = torch.ones_like(bin_, dtype=self.visited.dtype)
        self.visited = (self.visited * self._keep).index_add(0, bin_, ones)
        self.failed = (self.failed * self._keep).index_add(0, bin_, ones * terminated)

    def probabilities(self) -> Tensor:
        """(bins,) how likely an episode starts in each; sums to 1."""
        uniform = self._size / self._size.sum()
        rate = self.failed / self.visited.clamp_min(1.0)
        weight = (self._kernel @ rate) * self._size
        total = weight.sum()
        focused = torch.where(total > 0, weight / total.clamp_min(1e-12), uniform)
        return self._floor * uniform + (1.0 - self._floor) * focused

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw clips and frames, (count,) each."""
        drawn = torch.multinomial(self.probabilities(), count, True, generator=generator)
        share = torch.rand(count, generator=generator, device=drawn.device)
        frame = self._first[drawn] + (share * self._size[drawn]).long()
        return self._clip[drawn], frame

    def state_dict(self) -> dict[str, Tensor]:
        """What has been learnt of failures."""
        return {"failed": self.failed.clone(), "visited": self.visited.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore it.

        Raises:
            ValueError: it is of other clips.
        """
        if len(state["failed"]) != len(self.failed):
            raise ValueError(
                f"start frames: saved for {len(state['failed'])} bins of frames, the motion set "
                f"has {len(self.failed)}"
            )
        device = self.failed.device
        self.failed, self.visited = (state[k].to(device) for k in ("failed", "visited"))


def make_starts(kind: str, library: MotionLibrary) -> UniformStarts | FailureWeightedStarts:
    """Return "random", "first" or "failures" starts in a library."""
    if kind == "failures":
        return FailureWeightedStarts(library)
    return UniformStarts(library, first=kind == "first")
