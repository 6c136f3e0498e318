"""What the import of one clip did, in lines to read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Clipping:
    """Frames of one joint outside its range, and by how much the worst one (deg)."""

    joint: str
    frames: int
    worst: float


@dataclass(frozen=True)
class ClipReport:
    """One imported clip.

    Attributes:
        name: its name in the set.
        file: where it comes from, and the format.
        frames: number of frames.
        duration: length (s).
        fps: frames a second (Hz).
        matched: independent joints that the source gave.
        neutral: independent joints that it did not: they stay at their neutral value, or are
            what puts the feet on the floor, if `solved`.
        solved: whether the clip was solved for feet that stand.
        unmatched: columns of the source that were not used.
        ignored: number of columns that are no joint positions.
        clipped: joints that left their range.
        dependent: largest difference of a recomputed dependent joint to the source's own value, in
            words, or "".
        notes: decisions, a sentence each.
    """

    name: str
    file: str
    frames: int
    duration: float
    fps: float
    matched: tuple[str, ...]
    neutral: tuple[str, ...]
    unmatched: tuple[str, ...]
    ignored: int
    clipped: tuple[Clipping, ...]
    dependent: str
    notes: tuple[str, ...]
    solved: bool = False

    def lines(self) -> list[str]:
        """Return the report as lines of text, the first of them the summary."""
        joints = len(self.matched) + len(self.neutral)
        lines = [
            f"{self.name}: {self.frames} frames at {self.fps:g} Hz, {self.duration:.2f} s, "
            f"{len(self.matched)} of {joints} joints matched ({self.file})"
        ]
        lines += [f"  {note}" for note in self.notes]
        if self.unmatched:
            lines.append(f"  columns not matched: {', '.join(self.unmatched)}")
        if self.ignored:
            lines.append(f"  columns that are no joint positions: {self.ignored}")
        if self.neutral:
            fate = "free to be solved for" if self.solved else "kept at the neutral value"
            lines.append(f"  no column, {fate}: {', '.join(self.neutral)}")
        for clip in self.clipped:
            lines.append(
                f"  clipped to the joint's range: {clip.joint} in {clip.frames} frames, "
                f"worst {clip.worst:.1f} deg"
            )
        if self.dependent:
            lines.append(f"  {self.dependent}")
        return lines
