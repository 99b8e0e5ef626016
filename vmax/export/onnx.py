"""The controller as ONNX, through jax2onnx (extra `onnx`)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from vmax.errors import UserError
from vmax.export.function import Array, Controller, Source


def available() -> bool:
    """Whether jax2onnx is installed."""
    return find_spec("jax2onnx") is not None


def write_onnx(source: Source, path: Path) -> None:
    """Writes `path`: inputs `observation` and `carry_0` …, outputs `action`, `units` and `next_carry_0` …; any batch.

    Raises: UserError where jax2onnx is missing or cannot express the policy.
    """
    if not available():
        raise UserError('format=onnx: jax2onnx is not installed; pip install -c constraints.txt -e ".[onnx]"')
    fresh, control = source.fresh(1), source.controller()

    def flat(raw: Array, *carry: Array) -> tuple[Array, ...]:
        action, units, after = control(raw, carry)
        return (action, units, *after)

    with _quiet():
        from jax2onnx import to_onnx  # pyright: ignore[reportMissingImports] (an extra)

        try:
            to_onnx(
                flat,
                inputs=[("B", len(source.natural.observation)), *(("B", *leaf.shape[1:]) for leaf in fresh)],
                model_name="policy",
                return_mode="file",
                output_path=str(path),
                input_names=["observation", *(f"carry_{i}" for i in range(len(fresh)))],
                output_names=["action", "units", *(f"next_carry_{i}" for i in range(len(fresh)))],
            )
        except Exception as error:  # jax2onnx raises whatever it meets: an operation that it does not know
            path.unlink(missing_ok=True)
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"format=onnx: jax2onnx cannot express this policy ({reason})") from error


def read_onnx(path: Path) -> Controller | None:
    """The controller in such a file, to be called with arrays; None where onnxruntime is not installed."""
    if find_spec("onnxruntime") is None:
        return None
    import onnxruntime  # pyright: ignore[reportMissingImports] (an extra)

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # its advice on unused constants is of no use here
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of classes of its own: a type or an operation that it does not have
        reason = " ".join(str(error).split())
        raise UserError(f"format=onnx: onnxruntime cannot run this policy ({reason})") from error

    def control(raw: Any, carry: Any) -> Any:
        feeds = {"observation": raw} | {f"carry_{i}": leaf for i, leaf in enumerate(carry)}
        action, units, *after = session.run(None, {name: np.asarray(x, np.float32) for name, x in feeds.items()})
        return action, units, tuple(after)

    return control


@contextmanager
def _quiet() -> Iterator[None]:
    """Holds back what jax2onnx logs: tracebacks of plugins that it leaves out, harmless ones."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
