"""mm_torch: muscle-driven humanoids that learn to move like people."""

__version__ = "0.1.0"
