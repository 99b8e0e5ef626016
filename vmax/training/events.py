"""An event file of TensorBoard that is written at once.

tensorboardX's own writer hands events to a thread; where that dies, as on a full disk, the run waits for it for ever.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.record_writer import masked_crc32c
from tensorboardX.summary import hparams, image, scalar
from tensorboardX.utils import figure_to_image

from vmax.files import disk_guard


class EventFile:
    """A new event file in a folder. `add` collects events, `write` appends those collected."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
        self.waiting = [_framed(Event(wall_time=time.time(), file_version="brain.Event:2"))]

    def add(self, summary: Any, step: int = 0, when: float | None = None) -> None:
        """One summary at an environment step; `when` is its Unix time, None: now."""
        event = Event(summary=summary, step=step, wall_time=time.time() if when is None else when)
        self.waiting.append(_framed(event))

    def add_scalars(self, values: Mapping[str, float], step: int = 0, when: float | None = None) -> None:
        """One number for each tag."""
        for tag, value in values.items():
            self.add(scalar(tag, value), step, when)

    def add_figure(self, tag: str, figure: Any, step: int = 0) -> None:
        """A Matplotlib figure as a picture; the caller closes it."""
        self.add(image(tag, figure_to_image(figure, close=False), dataformats="CHW"), step)

    def add_hparams(self, settings: Mapping[str, bool | float | str], metrics: Mapping[str, float]) -> None:
        """The row of a run in the table of settings and results."""
        for summary in hparams(dict(settings), dict(metrics)):
            self.add(summary)
        self.add_scalars(metrics)

    def write(self) -> None:
        """Appends what was added since. Raises DiskFull."""
        with disk_guard(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(b"".join(self.waiting))
        self.waiting = []


def _framed(event: Event) -> bytes:
    """An event as a TFRecord: length, checksum of the length, data, checksum of the data."""
    data = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    return b"".join((length, _checksum(length), data, _checksum(data)))


def _checksum(data: bytes) -> bytes:
    return struct.pack("<I", masked_crc32c(data))
