"""mm_torch: muscle-driven humanoids that learn to move like people."""

import os

# torch's CPU threads would go on spinning after each operation, on the cores that the simulator's
# threads need next. Read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
