"""Physics: the two bodies and the two simulators behind one interface. No learning here.

``import sim`` loads MuJoCo and NumPy only; a simulator (and with it torch or Warp) is imported
when it is made, by :func:`sim.simulator.make_simulator`.
"""

from sim.embodiment import Embodiment, load_embodiment

__all__ = ["Embodiment", "load_embodiment"]
