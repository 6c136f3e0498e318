"""Functions of tensors, replayed as CUDA graphs: one launch in place of hundreds."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

# Calls before the capture. They make what is made once (optimiser states, workspaces, compiled
# kernels) and count like any other call.
_WARM_UP = 3


class Graphed:
    """A function that CUDA runs as one graph; on any other device, calling it is calling it.

    The function must do the same operations on tensors of the same shapes every time, wait for
    nothing, draw no random numbers, and find what it reads and changes besides its inputs (weights,
    optimiser states, a memory) at the same addresses. It may call ``backward``.
    """

    def __init__(self, function: Callable[..., Tensor], device: torch.device) -> None:
        """Args: ``function`` of tensors on ``device``, which returns one tensor."""
        self._function, self._device = function, device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.forget()

    @property
    def captured(self) -> bool:
        """Whether calls replay a graph."""
        return self._graph is not None

    def forget(self) -> None:
        """Drop the graph, because something moved to other addresses; it will be captured anew."""
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: tuple[Tensor, ...] = ()
        self._output: Tensor | None = None
        self._calls = 0

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return the function's result; once captured, it is overwritten by the next call."""
        if self._stream is None:
            return self._function(*inputs)
        if self._graph is None:
            if self._calls < _WARM_UP:
                self._calls += 1
                return self._warm_up(inputs)
            self._capture(inputs)
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        self._graph.replay()
        return self._output

    def _warm_up(self, inputs: tuple[Tensor, ...]) -> Tensor:
        # Not on the default stream: what autograd sets up there could not be captured later.
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream), warnings.catch_warnings():
            # An optimiser made for capture warns that this step is not captured.
            warnings.filterwarnings("ignore", message=".*capturable")
            output = self._function(*inputs)
        current.wait_stream(self._stream)
        return output

    def _capture(self, inputs: tuple[Tensor, ...]) -> None:
        self._inputs = tuple(part.clone() for part in inputs)
        graph, collecting = torch.cuda.CUDAGraph(), gc.isenabled()
        gc.collect()
        gc.disable()  # what a collection frees on the device would end up in the graph, or break it
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                self._output = self._function(*self._inputs)
        finally:
            if collecting:
                gc.enable()
        self._graph = graph
