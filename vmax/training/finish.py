"""The end of a run: the best and the last policy beside all baselines on the test split, files, plots, the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
from matplotlib.figure import Figure

from vmax import envs
from vmax.activity import doing
from vmax.algorithms import make_algorithm
from vmax.algorithms.algorithm import Spec
from vmax.checkpoint import Checkpoints
from vmax.config import RunConfig
from vmax.envs.environment import Environment
from vmax.evaluation.calibration import calibration_figure
from vmax.evaluation.evaluate import Evaluation, evaluate
from vmax.evaluation.plots import learning_curve, own_figures, score_label, training_curves
from vmax.evaluation.policies import Learned
from vmax.evaluation.report import attempted, write_run_report
from vmax.evaluation.statistics import collapses
from vmax.evaluation.table import print_comparison, print_groups, print_worlds
from vmax.evaluation.writing import write_evaluation
from vmax.files import DiskFull, to_plain, write_json
from vmax.plotting import save
from vmax.run_folder import RunFolder, Which, read_metrics
from vmax.training.day_plan import in_days
from vmax.training.run import Run, build_program
from vmax.training.stopping import Ending
from vmax.training.take_away import offer

TEST = "test"


def load_policy(checkpoints: Checkpoints, algorithm: Any, spec: Spec, which: Which) -> tuple[int, Learned]:
    """Step and policy of a checkpoint. Raises UserError where none can be read."""

    def weights(key: jax.Array) -> Any:
        return algorithm.policy(algorithm.init(key, spec), averaged=True)

    shapes = jax.eval_shape(weights, jax.random.key(0))
    one = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=one), shapes)
    restored = checkpoints.restore({"policy": target}, which)
    return restored.step, Learned(restored.items["policy"], algorithm)


def restore_policy(folder: RunFolder, config: RunConfig, which: Which) -> tuple[Environment, int, Learned]:
    """The environment of a run as it was configured; step and policy of a checkpoint. Raises UserError."""
    env = envs.make(config.env)
    algorithm = make_algorithm(config.algorithm, config.network)
    spec = build_program(in_days(config, env), env, algorithm).spec
    return env, *load_policy(Checkpoints(folder.checkpoints, config.checkpoint.keep), algorithm, spec, which)


def conclude(run: Run, ending: Ending) -> dict[str, Any]:
    """Evaluate and write result.json; returns it. A finished run is also plotted and its comparison printed.

    An interrupted run is on record before it is evaluated, beside the optimum alone: whoever stopped it may not wait.
    """
    doing("final evaluation")
    if ending.status == "interrupted":
        return _interrupted(run, ending)
    evaluation = _evaluate(run, ("best", "last"), planning=True)
    result = {"run": run_facts(run, ending), "evaluation": evaluation.result}
    write_evaluation(run.env, evaluation, run.folder.evaluation(TEST), result["run"], run.config.evaluation.plots)
    if run.config.evaluation.plots:
        write_plots(run, evaluation)
    run.logger.hparams(hparams(run.config), headline(evaluation))
    write_json(run.folder.result, result)
    run.folder.finish(ending.status, ending.reason)
    run.logger.end(ending.status, headline(evaluation))
    print_comparison(result["evaluation"], currency(run.env))
    print_groups(result["evaluation"])
    print_worlds(result["evaluation"])
    try:
        _hand_over(run, ending, to_plain(result))
    except DiskFull as error:  # the run is complete, whatever there is no space for now
        print(f"warning: {error}", flush=True)
    return to_plain(result)


def _hand_over(run: Run, ending: Ending, result: Mapping[str, Any]) -> None:
    """What follows a run that is on record: its policy as a file, the page, and where everything lies."""
    if ending.reason is not None:
        run.say(f"stopped early: {ending.reason}")
    if collapsed := result["run"]["collapsed"]:
        run.say(f"{collapsed} of {result['run']['evaluations']} evaluations found a collapsed policy; best is another")
    if run.config.export:
        best = load_policy(run.checkpoints, run.algorithm, run.stages.program.spec, "best")
        offer(run.say, run.folder, run.config, run.env, *best, "best", result)
    plots = [str(path) for path in (run.folder.plots, run.folder.evaluation(TEST) / "plots") if path.exists()]
    run.say(f"figures: {run.folder.result}" + (f"; plots: {' and '.join(plots)}" if plots else ""))
    if run.config.report:
        run.say(attempted(lambda: write_run_report(run.folder.path)))
    run.say(f"curves: tensorboard --logdir {run.folder.path}")


def _interrupted(run: Run, ending: Ending) -> dict[str, Any]:
    step = run.counters.step
    ending = replace(ending, reason=f"{ending.reason} at step {step}; go on with resume=")
    result: dict[str, Any] = {"run": run_facts(run, ending)}
    write_json(run.folder.result, result)
    run.folder.finish(ending.status, ending.reason)
    run.logger.end(ending.status, {})
    run.say(f"{ending.reason}{run.folder.path}")
    evaluation = _evaluate(run, ("best", "last") if run.counters.best_score is not None else ("last",), planning=False)
    result["evaluation"] = evaluation.result
    write_evaluation(run.env, evaluation, run.folder.evaluation(TEST), result["run"], plots=False)
    write_json(run.folder.result, result)
    return to_plain(result)


def fail(folder: RunFolder, run: Run | None, reason: str) -> None:
    """Puts on record that a run failed, and why; result.json says nothing but that."""
    folder.finish("failed", reason)
    if run is not None:
        write_json(folder.result, {"run": run_facts(run, Ending("failed", reason))})
        run.logger.end("failed", {})


def _evaluate(run: Run, checkpoints: Sequence[Which], planning: bool) -> Evaluation:
    settings, spec = run.config.evaluation, run.stages.program.spec
    return evaluate(
        run.env,
        {str(name): load_policy(run.checkpoints, run.algorithm, spec, name)[1] for name in checkpoints},
        TEST,
        error_draws=settings.error_draws,
        bootstrap=settings.bootstrap,
        days=settings.days,
        seed=run.config.seed,
        planning=planning,
        max_episode_steps=settings.max_episode_steps,
    )


def write_plots(run: Run, evaluation: Evaluation) -> None:
    """The learning curve with the baselines, the calibration, and the pictures of the evaluation in TensorBoard."""
    save(
        learning_curve(run.folder.metrics, run.validation.references, score_label(run.env)),
        run.folder.plots / "learning_curve.png",
    )
    save(training_curves(run.folder.metrics), run.folder.plots / "training_curves.png")
    if run.folder.calibration.exists():
        picture = calibration_figure(run.folder.calibration)
        save(picture, run.folder.plots / "calibration.png")
        run.logger.figure("eval/calibration", picture, run.counters.step)
    for name, picture in own_figures(run.env, evaluation).items():
        if isinstance(picture, Figure):
            run.logger.figure(f"eval/{name}", picture, run.counters.step)


def currency(env: Any) -> str:
    """The label of money in this environment."""
    return env.assessment.currency if env.assessment is not None else ""


def run_facts(run: Run, ending: Ending) -> dict[str, Any]:
    """The section `run` of result.json."""
    c, config = run.counters, run.config
    elapsed = max(c.training_time_s, 1e-9)
    return {
        "name": config.name,
        "algorithm": config.algorithm.name,
        "env": config.env.name,
        "seed": config.seed,
        "folder": str(run.folder.path),
        "status": ending.status,
        "reason": ending.reason,
        "checks": run.folder.checked(),
        "data": list(run.env.data_notes),
        "env_steps": c.step,
        "gradient_updates": c.updates,
        **({} if run.days is None else {"epochs": run.days.done(c.step) / run.days.per_epoch}),
        "best_step": c.best_step,
        "best_validation_score": c.best_score,
        **_evaluations(run.folder.metrics),
        "validation_baselines": dict(run.validation.references),
        "wall_time_s": c.wall_time_s,
        "training_time_s": c.training_time_s,
        "compile_time_s": c.compile_time_s,
        "env_steps_per_s": (c.step - config.training.warmup_steps) / elapsed,
        "updates_per_s": c.updates / elapsed,
    }


def _evaluations(metrics: Path) -> dict[str, int]:
    """How many evaluations on the validation split there were, and how many of them found a collapsed policy."""
    header, rows = read_metrics(metrics)
    place = header.index("eval/score") if "eval/score" in header else None
    scores = [] if place is None else [float(row[place]) for row in rows if row[place]]
    return {"evaluations": len(scores), "collapsed": collapses(scores)}


def hparams(config: RunConfig) -> dict[str, Any]:
    """The settings that TensorBoard's table shows: of the environment those that are one value."""
    env = {
        f"env.{k}": v for k, v in vars(config.env).items() if k != "name" and isinstance(v, bool | int | float | str)
    }
    groups = {"algorithm": config.algorithm, "network": config.network, "training": config.training}
    chosen = {f"{group}.{k}": v for group, settings in groups.items() for k, v in vars(settings).items()}
    return {"name": config.name or "", "seed": config.seed, "env": config.env.name, **env, **chosen}


def headline(evaluation: Evaluation) -> dict[str, float]:
    """The figures that stand for the run in TensorBoard's table."""
    names = ("capture", "profit_eur", "return_mean", "score")
    found = evaluation.result["policies"]["best"]
    return {f"test/{name}": float(found[name]) for name in names if found.get(name) is not None}
