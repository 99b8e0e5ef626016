"""How figures look: one style and one colour for each policy everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from vmax.files import atomic

STYLE: Any = {
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e6ea",
    "grid.linewidth": 0.8,
    "axes.edgecolor": "#8a929c",
    "xtick.color": "#4a525c",
    "ytick.color": "#4a525c",
    "legend.frameon": False,
    "legend.fontsize": 9,
}
COLOURS = {
    "best": "#1565c0",
    "last": "#64b5f6",
    "trained for all": "#1565c0",
    "perfect_foresight": "#263238",
    "mpc": "#e07b00",
    "mpc_calibrated": "#f5b342",
    "mpc_estimate": "#b71c1c",
    "gated_two_cycle": "#2e8b57",
    "two_cycle": "#84c5a0",
    "n_cheap_n_dear": "#8e6bbf",
    "threshold": "#c59bd8",
    "lp_yesterday": "#b0745a",
    "do_nothing": "#b0b7bf",
    "no_control": "#b0b7bf",
    "greedy": "#84c5a0",
    "level": "#2e8b57",
    "constant_targets": "#8e6bbf",
    "priority_rules": "#b0745a",
    "time_of_use": "#c59bd8",
    "actuated": "#2e8b57",
    "max_pressure": "#e07b00",
    "longest_queue": "#8e6bbf",
    "webster": "#b0745a",
    "fixed": "#84c5a0",
    "sotl": "#c59bd8",
    "wear ignored": "#e07b00",
    "wear priced": "#1565c0",
}
OTHER = "#d81b60"


def colour(policy: str) -> str:
    """The colour of a policy; one for all whose name is not known here."""
    return COLOURS.get(policy, OTHER)


@contextmanager
def canvas(width: float, height: float, rows: int = 1, **options: Any) -> Iterator[tuple[Figure, Any]]:
    """A figure of `rows` panels in the common style, drawn on without global state: `(figure, axes)`."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        yield figure, figure.subplots(rows, **options)


def save(figure: Figure, path: Path) -> None:
    """Writes a PNG under a temporary name and renames it. Raises DiskFull."""
    with atomic(path) as temporary, mpl.rc_context(STYLE):
        figure.savefig(temporary, format="png", dpi=150)


@dataclass(frozen=True)
class Moving:
    """A figure that changes: `draw(i)` brings it to frame i of `frames`; `per_s` of them a second."""

    figure: Figure
    draw: Callable[[int], None]
    frames: int
    per_s: float


Picture = Figure | Moving


def save_moving(moving: Moving, path: Path) -> None:
    """Writes a GIF under a temporary name and renames it. Raises DiskFull."""
    with atomic(path) as temporary, mpl.rc_context(STYLE):
        agg, images = FigureCanvasAgg(moving.figure), []
        for frame in range(moving.frames):
            moving.draw(frame)
            agg.draw()
            moving.figure.set_layout_engine("none")  # laid out once
            image = Image.fromarray(np.asarray(agg.buffer_rgba())[..., :3])
            images.append(image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE))
        images[0].save(
            temporary, format="gif", save_all=True, append_images=images[1:], duration=1000.0 / moving.per_s, loop=0
        )


def save_pictures(pictures: Mapping[str, Picture], folder: Path) -> None:
    """Writes each into `folder`: `NAME.png`, or `NAME.gif` of a moving one. Raises DiskFull."""
    for name, picture in pictures.items():
        if isinstance(picture, Moving):
            save_moving(picture, folder / f"{name}.gif")
        else:
            save(picture, folder / f"{name}.png")
