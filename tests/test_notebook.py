import json
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
SMALL = (
    *("algorithm=sac", "env=bess", "env.episode.days=2", "network.hidden=[16,16]", "total_steps=256"),
    *("training.num_envs=8", "training.warmup_steps=64", "training.batch_size=16", "training.replay_capacity=512"),
    *("training.log_every=64", "training.eval_every=64", "training.updates_per_iteration=1", "checkpoint.every=128"),
    *("evaluation.bootstrap=20", "evaluation.plots=false", "export=false", "report=false", "checks=off"),
)


def test_quickstart_runs_from_top_to_bottom(tmp_path, monkeypatch):
    hours = pd.date_range("2024-01-01", periods=60 * 24, freq="h")
    price = 80 - 40 * np.cos(hours.hour.to_numpy() * np.pi / 6) + np.random.default_rng(0).normal(0, 5, len(hours))
    pd.DataFrame({"utc": hours, "price_eur_per_mwh": price}).to_csv(tmp_path / "prices.csv", index=False)
    monkeypatch.setenv(
        "VMAX_QUICKSTART", json.dumps([*SMALL, f"env.data.path={tmp_path}/prices.csv", "env.data.naive_time=utc"])
    )
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "notebooks" / "quickstart.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs are not committed"

    done = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()

    last = done.cells[-1]["outputs"][-1]["data"]["text/plain"]
    assert float(last) <= 1.0
    pictures = [output for cell in done.cells for output in cell.get("outputs", []) if "image/png" in str(output)]
    assert len(pictures) == 2
