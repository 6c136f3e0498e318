"""Joint angles of human walking: a measured gait cycle as Fourier series.

Source: Falisse et al. (2019), "Rapid predictive simulations with complex musculoskeletal models
suggest that diverse healthy and pathological human gaits can emerge from similar control
strategies", Journal of the Royal Society Interface 16:20190402; data of its repository
(antoinefalisse/3dpredictsim, MIT licence): the mean over 11 trials of one subject. The series were
fitted to the 100 samples of the cycle; their root-mean-square error is below 0.3 deg or mm.

Phase 0 is the right foot's first contact, phase 1 the next one. Curves of the right side, in the
OpenSim names and signs of that data: knee_angle is negative in flexion, ankle_angle positive in
dorsiflexion.
"""

from __future__ import annotations

import numpy as np

#: Length of a stride (m), distance between the feet across the walk (m), and speed (m/s).
STRIDE_LENGTH = 1.377
STEP_WIDTH = 0.088
SPEED = 1.33

#: Mean and (cosine, sine) coefficients of harmonics 1 to 6; deg, and m for the pelvis translations
#: (tx forwards, less its steady advance, ty up, tz to the right, less a steady drift).
SERIES: dict[str, tuple[float, tuple[tuple[float, float], ...]]] = {
    "pelvis_tilt": (
        0.1852,
        ((0.001527, -0.1256), (0.5982, -0.1159), (0.04156, 0.03508),
         (0.1429, -0.1328), (-0.006567, -0.05187), (-0.05341, 0.01232)),
    ),
    "pelvis_list": (
        -0.08582,
        ((0.7428, -4.609), (-0.2544, -0.1257), (1.802, 0.5902),
         (0.0005421, -0.09513), (-0.09109, 0.1512), (-0.004532, -0.03118)),
    ),
    "pelvis_rotation": (
        -2.121,
        ((0.6289, 1.97), (0.1047, -0.1124), (0.7635, -0.6558),
         (0.03875, -0.07294), (0.06906, 0.3278), (0.0246, -0.005378)),
    ),
    "pelvis_tx": (
        0.004234,
        ((0.002708, -0.002043), (-0.006222, 0.01057), (0.0006215, -4.274e-05),
         (-0.001784, 5.715e-05), (0.0001677, 4.33e-05), (-4.653e-05, -0.0002027)),
    ),
    "pelvis_ty": (
        0.9081,
        ((0.001226, 0.001687), (-0.007282, -0.01326), (-0.0004676, 0.0001633),
         (3.679e-05, 0.0006456), (-2.134e-05, 6.8e-05), (4.217e-05, -1.036e-05)),
    ),
    "pelvis_tz": (
        0.05587,
        ((-0.004887, 0.008623), (-0.0003204, 0.0003737), (-0.001344, 0.001493),
         (-0.000109, 7.196e-05), (-4.412e-05, -0.0005254), (-1.905e-05, -5.004e-05)),
    ),
    "hip_flexion": (
        9.708,
        ((22.9, 0.9398), (-4.332, -2.127), (-0.9366, 1.317),
         (-0.003508, 0.105), (-0.1388, -0.04375), (0.09666, 0.008565)),
    ),
    "hip_adduction": (
        2.946,
        ((-0.6487, 6.582), (-0.1234, -0.2994), (-2.388, -0.009882),
         (-0.07007, 0.304), (0.08117, -0.2632), (-0.002061, -0.005856)),
    ),
    "hip_rotation": (
        0.03408,
        ((-0.9516, -1.281), (-1.251, -0.8102), (-1.36, 1.659),
         (-0.1491, 0.05897), (-0.5496, -0.5933), (0.00183, -0.04805)),
    ),
    "knee_angle": (
        -29.49,
        ((-2.296, 17.55), (16.07, -2.516), (2.481, -3.91),
         (0.5342, -0.39), (0.5492, -0.2104), (-0.034, -0.2294)),
    ),
    "ankle_angle": (
        1.518,
        ((-3.479, 7.535), (5.202, -6.769), (-2.801, -1.683),
         (2.047, 1.519), (1.087, -0.6518), (-0.08296, 0.3183)),
    ),
    "subtalar_angle": (
        2.178,
        ((-5.389, 0.547), (3.558, 1.814), (1.88, -1.341),
         (1.246, 1.051), (1.584, 0.5396), (0.2647, -0.03093)),
    ),
    "lumbar_extension": (
        -6.256,
        ((-0.08739, -0.275), (-1.373, 1.15), (0.04909, -0.0939),
         (-0.4617, 0.1231), (0.008161, 0.013), (0.0166, -0.09465)),
    ),
    "lumbar_bending": (
        -0.1731,
        ((-0.8567, 6.014), (0.2539, 0.06521), (-2.218, -0.7561),
         (-0.01227, 0.07833), (0.09814, -0.1745), (-2.934e-05, 0.02059)),
    ),
    "lumbar_rotation": (
        0.5454,
        ((-6.826, -1.317), (-0.07364, 0.1946), (-0.3448, 0.4811),
         (-0.00773, 0.07557), (-0.1079, -0.2198), (-0.01071, 0.03464)),
    ),
    "arm_flex": (
        -1.797,
        ((-5.013, -0.03419), (0.6894, -0.956), (-0.5914, 0.5443),
         (0.4921, 0.08233), (-0.007628, -0.04415), (0.00853, 0.06956)),
    ),
    "arm_add": (
        -17.16,
        ((3.227, -0.3999), (-0.7306, 0.5234), (0.599, 0.1039),
         (0.03142, -0.04156), (-0.002103, 0.06626), (0.01423, -0.03159)),
    ),
    "arm_rot": (
        16.56,
        ((1.75, 0.9243), (-0.9354, -0.6801), (-0.7688, 1.105),
         (0.3819, 0.2545), (-0.05487, -0.3317), (-0.07207, -0.1606)),
    ),
    "elbow_flex": (
        23.52,
        ((-11.79, -1.927), (1.427, -0.6225), (0.08368, -0.5819),
         (-0.2796, 0.1157), (0.09336, 0.2065), (0.01829, 0.1607)),
    ),
}  # fmt: skip


def harmonic_basis(phase: np.ndarray, harmonics: tuple[int, ...]) -> np.ndarray:
    """Return (T, 2 H) cosines and sines of `phase` (T,) for H harmonics, in (cos, sin) pairs."""
    angle = 2.0 * np.pi * np.outer(phase, harmonics)
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1).reshape(len(angle), -1)


def curve(
    name: str, phase: np.ndarray, harmonics: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
) -> np.ndarray:
    """Return a curve (T,) at `phase` (T,), its mean and the chosen harmonics (deg or m)."""
    mean, series = SERIES[name]
    coefficients = np.ravel([series[harmonic - 1] for harmonic in harmonics])
    return mean + harmonic_basis(phase, harmonics) @ coefficients


def symmetric_curve(name: str, phase: np.ndarray, parity: str) -> np.ndarray:
    """Return a curve (T,) of the trunk with the part that differs between the sides left out.

    Args:
        name: a curve of the pelvis or the lumbar joint.
        phase: (T,) phase of the cycle.
        parity: "even" for what both steps repeat (tilt, height), "odd" for what changes sign from
            one step to the next (list, rotation, bending); a mean is a difference between the
            sides in the latter, so it goes too.
    """
    if parity == "even":
        return curve(name, phase, (2, 4, 6))
    return curve(name, phase, (1, 3, 5)) - SERIES[name][0]
