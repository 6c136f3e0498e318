"""Warp work that runs on PyTorch's stream, replayed as a CUDA graph where that is possible."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import warp as wp


def can_capture(device: wp.Device) -> bool:
    """Whether work on `device` can be captured: CUDA, with the memory pool that captures need."""
    return device.is_cuda and wp.is_mempool_enabled(device)


class WarpWork:
    """A function of no arguments that launches Warp kernels on fixed arrays.

    On CUDA, calling it enqueues the kernels on PyTorch's current stream, in order with the tensor
    operations around them and without waiting for any of them. Once captured, all launches are
    replayed as one graph. On the CPU, calling it is calling the function.
    """

    def __init__(self, function: Callable[[], None], device: wp.Device) -> None:
        self._function = function
        self._device = device
        self._graph: wp.Graph | None = None
        self._streams: dict[int, wp.Stream] = {}

    @property
    def captured(self) -> bool:
        """Whether calls replay a graph."""
        return self._graph is not None

    def capture(self) -> None:
        """Record the function into a graph, without running it.

        The graph keeps the addresses of the arrays it was recorded with. Run the function once
        before, so that its kernels are compiled and loaded.
        """
        # Warp's own stream: capture is not allowed on the legacy stream that is PyTorch's default.
        with _no_garbage_collection(), wp.ScopedDevice(self._device):
            wp.synchronize_device(self._device)
            with wp.ScopedCapture(self._device, force_module_load=False) as capture:
                self._function()
            self._graph = capture.graph

    def __call__(self) -> None:
        if not self._device.is_cuda:
            with wp.ScopedDevice(self._device):
                self._function()
        elif self._graph is not None:
            wp.capture_launch(self._graph, stream=self._current_stream())
        else:
            # The launches are ordered by PyTorch's stream alone; nothing runs on Warp's own.
            with wp.ScopedStream(self._current_stream(), sync_enter=False):
                self._function()

    def _current_stream(self) -> wp.Stream:
        stream = torch.cuda.current_stream(wp.device_to_torch(self._device))
        if stream.cuda_stream not in self._streams:
            self._streams[stream.cuda_stream] = wp.stream_from_torch(stream)
        return self._streams[stream.cuda_stream]


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    # A graph or array that is finalised during a capture would be recorded into the new graph.
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
