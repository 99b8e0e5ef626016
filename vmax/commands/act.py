"""`act`: what an exported policy does, for rows of raw observations."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig

from vmax import devices
from vmax.commands.cli import hydra_main, only
from vmax.config import to_mapping
from vmax.conversion import convert
from vmax.errors import UserError
from vmax.files import write_csv

KEYS = ("policy", "csv", "out", "device")
Device = Literal["auto", "cpu", "gpu"]


def main() -> None:
    """Entry point of the command. `--csv FILE` is another way to write `csv=FILE`."""
    if "--csv" in sys.argv[1:-1]:
        at = sys.argv.index("--csv")
        sys.argv[at : at + 2] = [f"csv={sys.argv[at + 1]}"]
    hydra_main(run, "act")


def run(composed: DictConfig) -> None:
    """One job of the command: prints or writes one row of actions for each row of the file."""
    mapping = only(to_mapping(composed), KEYS)
    for key, example in (("policy", "RUN/policy"), ("csv", "rows.csv")):
        if mapping[key] is None:
            raise UserError(f"{key}=null: name one, as in {key}={example}")
    policy, rows = (convert(str, mapping[key], key) for key in ("policy", "csv"))
    out = convert(str | None, mapping["out"], "out")
    device = convert(Device, mapping["device"], "device")
    devices.configure(device, None)
    devices.verify(device)
    header, actions = act(policy, rows)
    if out is None:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(actions)
        return
    try:
        write_csv(Path(out), header, actions)
    except OSError as error:
        raise UserError(f"out={out}: cannot be written ({error.strerror})") from error
    print(f"{len(actions)} rows of actions: {out}", flush=True)


def act(policy: str | Path, rows: str | Path) -> tuple[list[str], list[list[str]]]:
    """The actions of the policy in a folder for the rows of a CSV file, as a header and rows of text.

    Raises UserError for a policy that is damaged, and for rows with wrong columns or values out of range.
    """
    from vmax.export.load import load_exported
    from vmax.export.rows import read_rows, unusual

    exported = load_exported(policy)
    given = read_rows(rows, exported.columns)
    if (line := unusual(given, exported.columns)) is not None:
        print(f"warning: {rows}: {line}", file=sys.stderr, flush=True)
    return exported.answers, [[f"{x:.9g}" for x in row] for row in exported.act(given.raw, given.episodes)]
