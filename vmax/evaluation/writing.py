"""Puts an evaluation into a folder; every file appears whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv

from vmax.evaluation.evaluate import Evaluation
from vmax.evaluation.plots import evaluation_figures
from vmax.files import atomic, write_json
from vmax.plotting import save_pictures


def write_evaluation(env: Any, evaluation: Evaluation, folder: Path, run: Mapping[str, Any], plots: bool) -> None:
    """Writes result.json, episodes.csv, timeseries.csv, trace.csv and plots/ into `folder` (evaluation/SPLIT).

    `run` are the facts of the training run that result.json repeats. It is written last. Raises DiskFull.
    """
    tables = {"episodes": evaluation.episodes, "timeseries": evaluation.timeseries, "trace": evaluation.trace}
    for name, table in tables.items():
        if len(table):
            write_table(table, folder / f"{name}.csv")
    shutil.rmtree(folder / "plots", ignore_errors=True)  # those of an evaluation before
    if plots:
        save_pictures(evaluation_figures(env, evaluation), folder / "plots")
    write_json(folder / "result.json", {"run": run, "evaluation": evaluation.result})


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Writes a table as CSV, times as ISO 8601 in UTC, numbers with as many digits as they need. Raises DiskFull."""
    table = table.copy()
    for name in table.select_dtypes("datetime"):
        codes, times = pd.factorize(table[name])
        table[name] = pd.Categorical.from_codes(codes, pd.DatetimeIndex(times).strftime("%Y-%m-%dT%H:%M:%SZ"))
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    columns = [c.cast(c.type.value_type) if pa.types.is_dictionary(c.type) else c for c in arrow.columns]
    with atomic(path) as temporary, temporary.open("wb") as file:
        file.write((",".join(arrow.column_names) + "\n").encode())
        options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
        pyarrow.csv.write_csv(pa.table(columns, names=arrow.column_names), file, options)
