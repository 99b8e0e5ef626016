"""`front`: what a policy that was trained for all weights reaches at each of them, beside rules, plans and policies
that were trained for one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig

from vmax import devices
from vmax.commands.cli import hydra_main, only
from vmax.commands.report import named_folders, runs_in
from vmax.config import load, to_mapping
from vmax.conversion import build
from vmax.errors import UserError
from vmax.evaluation.evaluate import OPTIMUM, nothing_of
from vmax.evaluation.front import Front, Fronted, Point
from vmax.files import expect_writable, write_csv, write_json
from vmax.plotting import save
from vmax.run_folder import FINISHED, RunFolder, Which, unlike_files
from vmax.training.inputs import reading

KEYS = ("run", "runs", "checkpoint", "split", "device", "points", "planning")
SEPARATE = "trained for one"
WEIGHTED = ("mpc", OPTIMUM)
"""Plans that are made anew for each pair of weights."""


@dataclass(frozen=True)
class FrontConfig:
    """The command's settings; the meaning of each stands in conf/front.yaml."""

    run: str | None
    runs: tuple[str, ...]
    checkpoint: Which
    split: Literal["train", "validation", "test"]
    device: Literal["auto", "cpu", "gpu"]
    points: int
    planning: bool

    def __post_init__(self) -> None:
        if not self.run:
            raise UserError("run=null: name the folder of a run, as in run=outputs/2026-01-31/12-00-00-000000")
        if self.points < 2:
            raise UserError(f"points={self.points}: must be at least 2")


@dataclass(frozen=True)
class Trained:
    """A finished run that was trained for one set of weights: the share of the second of the two, and what came out."""

    share: float
    figures: Mapping[str, Any]


def main() -> None:
    """Entry point of the command."""
    hydra_main(run, "front")


def run(composed: DictConfig) -> None:
    """One job of the command: prints the table and where the files are."""
    config = build(FrontConfig, only(to_mapping(composed), KEYS))
    assert config.run is not None
    folder = RunFolder.open(config.run)
    trained_on = folder.composed()
    if not trained_on["env"].get("reward", {}).get("conditioned", False):
        raise UserError(f"run={folder.path}: was trained for one set of weights, not with env.reward.conditioned=true")
    target = folder.path / "front"
    expect_writable(target, f"run={folder.path}")
    devices.configure(config.device, None)
    devices.verify(config.device)
    from vmax.training.finish import currency, restore_policy

    read = reading(folder)
    read.say()
    own = load(read.mapping)
    env, _, policy = restore_policy(folder, own, config.checkpoint)
    others = separate(config, trained_on, env) if config.runs else []
    points = list(reached(env, policy, others, config, own.evaluation.days))
    front = Front(points, tuple(env.assessment.fronted), currency(env))
    write_json(target / "front.json", {"split": config.split, **front.described()})
    header = list(asdict(points[0]))
    write_csv(target / "front.csv", header, [list(asdict(point).values()) for point in points])
    save(front.figure(), target / "front.png")
    front.show()
    print(f"files: {target}", flush=True)


def reached(env: Any, policy: Any, others: Sequence[Trained], config: FrontConfig, days: int | None) -> Iterator[Point]:
    """What everybody comes to on the split, or its first days, told as it goes."""
    from vmax.envs.rollout import rollout

    judge: Fronted = env.assessment
    params = env.params(config.split)
    starts = judge.starts(params, config.split, 1, days)
    baselines = judge.baselines()

    def figures(name: str, policy: Any, params: Any) -> dict[str, Any]:
        return judge.key_figures(judge.timeseries(name, rollout(env, policy, params, starts)), params, starts)

    nothing = figures("", baselines[nothing_of(baselines)], params)

    def point(kind: str, share: float | None, values: Mapping[str, Any]) -> Point:
        first, second = (float(values[key]) for key in judge.fronted)
        objective = None if share is None else judge.objective_at(share, values, nothing)
        return Point(kind, share, first, second, objective)

    plans = {name: baselines[name] for name in WEIGHTED if config.planning}
    for number in range(config.points):
        share = number / (config.points - 1)
        print(f"weights {number + 1} of {config.points}: {judge.weights_told(share)}", flush=True)
        at = judge.reweighted(params, share)
        for kind, who in {Front.LEARNED: policy, **plans}.items():
            yield point(kind, share, figures(kind, who, at))
    for other in others:
        yield point(SEPARATE, other.share, other.figures)
    yield from (
        point(name, None, figures(name, rule, params)) for name, rule in baselines.items() if name not in WEIGHTED
    )


def separate(config: FrontConfig, own: Mapping[str, Any], env: Any) -> list[Trained]:
    """The finished runs of `config.runs`, whose environment must be that of the conditioned one but for its reward.

    Raises UserError for one that has no result on the split, or another world.
    """
    found = []
    for one in [each for folder in named_folders(",".join(config.runs)) for each in runs_in(folder)]:
        run = RunFolder(one.folder)
        result = run.evaluation(config.split) / "result.json"
        if run.record().get("status") not in FINISHED or not result.exists():
            raise UserError(f"runs={one.folder}: has no result on split={config.split}")
        other = run.composed()
        world = [("env", key) for key in own["env"] if key not in ("reward", "mpc")]
        for group, key in [("evaluation", "days"), *world]:
            if other[group].get(key) != own[group][key]:
                raise UserError(f"runs={one.folder}: {group}.{key} is not as in run={config.run}")
        if unlike := unlike_files({str(config.run): Path(str(config.run)), str(one.folder): Path(one.folder)}):
            raise UserError(f"runs={one.folder}: {unlike[0]}")
        share = env.assessment.share_of(load(other).env.reward.vector)
        policies = json.loads(result.read_text(encoding="utf-8"))["evaluation"]["policies"]
        found.append(Trained(share, policies["best"]))
    return found
