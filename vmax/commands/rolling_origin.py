"""`rolling_origin`: for each test year a run trained on the years before it, and one table of what they earned."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from vmax.commands.cli import hydra_main, typed
from vmax.commands.train import train
from vmax.config import compose, load, to_mapping
from vmax.conversion import convert
from vmax.data.splits import Years
from vmax.errors import UserError
from vmax.files import held, write_csv, write_json
from vmax.run_folder import FINISHED, RunFolder, unlike_files
from vmax.training.inputs import placed_overrides

OWN_KEYS = ("years", "train_years", "resume", "hydra")
RECORD, TABLE = "rolling_origin.json", "rolling_origin.csv"
NOTHING, OPTIMUM = "do_nothing", "perfect_foresight"
SHOWN = ("best", NOTHING, "gated_two_cycle", "mpc", "mpc_calibrated", OPTIMUM)
FIGURES = ("profit_eur", "terminal_value_eur", "uplift_eur", "capture", "cycles_per_day")


@dataclass(frozen=True)
class Plan:
    """What is evaluated. `overrides` are those of a training run, the same for every year."""

    years: tuple[int, ...]
    train_years: int
    overrides: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.years or len(set(self.years)) < len(self.years):
            raise UserError(f"years={list(self.years)}: must be at least one year, each once")
        if self.train_years < 1:
            raise UserError(f"train_years={self.train_years}: must be at least 1")

    def splits(self, year: int) -> dict[str, list[str]]:
        """First and last local day of each split for a test year."""
        years = {
            "train": (year - 1 - self.train_years, year - 2),
            "validation": (year - 1, year - 1),
            "test": (year, year),
        }
        return {name: [f"{first}-01-01", f"{last}-12-31"] for name, (first, last) in years.items()}


def main() -> None:
    """Entry point of the command."""
    hydra_main(run, "rolling_origin")


def run(composed: DictConfig) -> None:
    """One job of the command. Raises UserError, at the end, where a year failed."""
    job = HydraConfig.get()
    overrides = typed(job)
    resume = convert(str | None, composed.resume, "resume")
    if resume is not None:
        folder, plan = Path(resume), saved_plan(Path(resume), overrides)
    else:
        folder, plan = Path(job.runtime.output_dir), new_plan(composed, overrides)
        if (folder / RECORD).exists():
            raise UserError(f"hydra.run.dir={folder}: holds a rolling-origin evaluation; go on with resume={folder}")
    with held(folder, f"{'hydra.run.dir' if resume is None else 'resume'}={folder}"):
        rolling_origin(plan, folder)


def new_plan(composed: DictConfig, overrides: Sequence[str]) -> Plan:
    """The plan that a composed configuration asks for. Raises UserError."""
    mapping = to_mapping(composed)
    if "data" not in mapping["env"]:
        raise UserError(f"env={mapping['env']['name']}: has no years to test on; allowed: environments with env.data")
    kept = [override for override in overrides if not _is_own(override)]
    plan = Plan(
        years=convert(Years, mapping["years"], "years"),
        train_years=convert(int, mapping["train_years"], "train_years"),
        overrides=(*kept, *placed_overrides(mapping)),
    )
    load(compose(plan.overrides))  # a mistake is told once, before the first year
    return plan


def saved_plan(folder: Path, overrides: Sequence[str]) -> Plan:
    """The plan of an evaluation that is gone on with. Raises UserError for overrides, which it would not follow."""
    if not (folder / RECORD).exists():
        raise UserError(f"resume={folder}: is no folder of a rolling-origin evaluation ({RECORD} is missing)")
    saved = json.loads((folder / RECORD).read_text(encoding="utf-8"))["plan"]
    for override in overrides:
        if override.partition("=")[0] != "resume" and not override.startswith("hydra"):
            raise UserError(f"resume: {override} cannot be changed; the evaluation goes on with its own settings")
    return Plan(tuple(saved["years"]), saved["train_years"], tuple(saved["overrides"]))


def rolling_origin(plan: Plan, folder: Path) -> list[dict[str, Any]]:
    """Runs all years of a plan that are not done in the folder, one after the other; prints and writes the table.

    Returns: one record a year: days of the splits, status, reason, figures of the policies on the test year.
    Raises: UserError, once all years were tried, that names those which failed.
    """
    found: list[dict[str, Any]] = []
    write_record(folder, plan, found)
    for year in plan.years:
        print(f"{year}: {', '.join(f'{name} {days[0]} to {days[1]}' for name, days in plan.splits(year).items())}")
        found.append(run_year(plan, year, folder / str(year)))
        write_record(folder, plan, found)
        if found[-1]["status"] == "interrupted":
            print(f"interrupted in {year}; go on with resume={folder}")
            return found
        if found[-1]["status"] == "failed":
            print(f"{year}: failed ({found[-1]['reason']}); the other years go on")
    for line in unlike_files({record["folder"]: folder / record["folder"] for record in found}):
        print(f"warning: {line}")
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table(found))
    print(f"figures: {folder / RECORD} and {folder / TABLE}")
    failed = [f"{record['year']} ({record['reason']})" for record in found if record["status"] == "failed"]
    if failed:
        raise UserError(f"{len(failed)} of {len(found)} years failed: {'; '.join(failed)}; go on with resume={folder}")
    return found


def run_year(plan: Plan, year: int, path: Path) -> dict[str, Any]:
    """Trains and tests for one year, goes on with a run that was cut short, or reads the result of one that is done."""
    splits = plan.splits(year)
    record: dict[str, Any] = {"year": year, **splits, "status": "failed", "reason": None, "folder": path.name}
    done = finished_result(path)
    try:
        result = done or _train(plan, splits, path)
    except UserError as error:
        return {**record, "reason": str(error), "policies": {}}
    found = result.get("evaluation", {})
    about = {"currency": found.get("currency"), "policies": found.get("policies", {}), "optimum": found.get("optimum")}
    return {**record, "status": result["run"]["status"], **about}


def finished_result(path: Path) -> dict[str, Any] | None:
    """The content of result.json of a finished run, or None."""
    folder = RunFolder(path)
    if folder.record().get("status") not in FINISHED:
        return None
    return json.loads(folder.result.read_text(encoding="utf-8"))


def _train(plan: Plan, splits: Mapping[str, Sequence[str]], path: Path) -> dict[str, Any]:
    """A new run, or the rest of one."""
    days = [f"env.data.{name}=[{first},{last}]" for name, (first, last) in splits.items()]
    overrides = [*plan.overrides, *days]
    composed = compose(overrides)
    if RunFolder(path).config.exists():
        composed.resume = str(path)
        return train(composed, path, [])
    if path.exists() and any(path.iterdir()):
        raise UserError(f"{path}: is not empty and holds no run; move it, or set hydra.run.dir= to another folder")
    return train(composed, path, overrides)


def write_record(folder: Path, plan: Plan, records: Sequence[Mapping[str, Any]]) -> None:
    """Writes rolling_origin.json, and rolling_origin.csv with one row for each year and policy. Raises DiskFull."""
    write_json(folder / RECORD, {"plan": vars(plan), "years": records, "all_years": totals(records)})
    rows = [
        [record["year"], name, *(values[figure] for figure in FIGURES), *(values["ci95"]["capture"] or (None, None))]
        for record in records
        for name, values in record["policies"].items()
    ]
    write_csv(folder / TABLE, ["year", "policy", *FIGURES, "capture_ci95_low", "capture_ci95_high"], rows)


def totals(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """By policy, over all finished years: profit and capture, the share of the summed uplifts."""
    completed = [record for record in records if record["status"] in FINISHED]
    years = [record["policies"] for record in completed]
    names = list(years[0]) if years else []
    best_eur = sum((r.get("optimum") or r["policies"][OPTIMUM])["uplift_eur"] for r in completed)
    return {
        name: {
            "profit_eur": sum(policies[name]["profit_eur"] for policies in years),
            "capture": sum(policies[name]["uplift_eur"] for policies in years) / best_eur if best_eur > 0 else None,
        }
        for name in names
    }


def table(records: Sequence[Mapping[str, Any]]) -> Table:
    """Years in rows; profit, in the data's currency, and capture of the policies that tell most."""
    whole = totals(records)
    currency = next((record["currency"] for record in records if record.get("currency")), "EUR")
    names = [name for name in SHOWN if name in whole]
    shown = Table(title=f"Rolling origin: profit in {currency} (capture)", title_justify="left", title_style="bold")
    shown.add_column("test year")
    for name in names:
        shown.add_column(name, justify="right", style="bold cyan" if name == "best" else None)
    for record in records:
        if record["status"] in FINISHED:
            shown.add_row(str(record["year"]), *(_cell(name, record["policies"][name]) for name in names))
        else:
            shown.add_row(str(record["year"]), *([record["status"]] + ["-"] * len(names))[: len(names)])
    if names:
        shown.add_section()
        shown.add_row("all", *(_cell(name, whole[name]) for name in names))
    return shown


def _cell(name: str, values: Mapping[str, Any]) -> str:
    money, capture = f"{values['profit_eur']:,.0f}", values["capture"]
    return money if capture is None or name in (NOTHING, OPTIMUM) else f"{money} ({capture:.3f})"


def _is_own(override: str) -> bool:
    return override.partition("=")[0].lstrip("+~").partition(".")[0] in OWN_KEYS
