"""The end of a run: the best and the last policy beside all baselines on the test split, files, plots, the table."""

from __future__ import annotations

from typing import Any, Literal

import jax

from vmax.algorithms.algorithm import Spec
from vmax.checkpoint import Checkpoints
from vmax.config import RunConfig
from vmax.evaluation.calibration import calibration_figure
from vmax.evaluation.evaluate import Evaluation, evaluate
from vmax.evaluation.plots import learning_curve
from vmax.evaluation.policies import Learned
from vmax.evaluation.table import print_comparison, print_groups
from vmax.evaluation.writing import write_evaluation
from vmax.plotting import save
from vmax.run_folder import to_plain, write_json
from vmax.training.run import Run

TEST = "test"


def load_policy(
    checkpoints: Checkpoints, algorithm: Any, spec: Spec, which: Literal["best", "last"]
) -> tuple[int, Learned]:
    """Step and policy of a checkpoint. Raises UserError where none can be read."""

    def weights(key: jax.Array) -> Any:
        return algorithm.policy(algorithm.init(key, spec), averaged=True)

    shapes = jax.eval_shape(weights, jax.random.key(0))
    one = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=one), shapes)
    restored = checkpoints.restore({"policy": target}, which)
    return restored.step, Learned(restored.items["policy"], algorithm)


def conclude(run: Run, status: str) -> dict[str, Any]:
    """Write result.json, and for a completed run evaluate, plot and print the comparison; returns the result."""
    result: dict[str, Any] = {"run": run_facts(run, status)}
    if status == "completed":
        learned = {
            name: load_policy(run.checkpoints, run.algorithm, run.stages.program.spec, name)[1]
            for name in ("best", "last")
        }
        settings = run.config.evaluation
        evaluation = evaluate(
            run.env,
            learned,
            TEST,
            error_draws=settings.error_draws,
            bootstrap=settings.bootstrap,
            days=settings.days,
            seed=run.config.seed,
        )
        result["evaluation"] = evaluation.result
        write_evaluation(run.env, evaluation, run.folder.evaluation(TEST), result["run"], settings.plots)
        if settings.plots:
            write_plots(run, evaluation)
        run.logger.hparams(hparams(run.config), headline(evaluation))
    write_json(run.folder.result, result)
    if status == "completed":
        print_comparison(result["evaluation"], currency(run.env))
        print_groups(result["evaluation"])
        plots = [str(path) for path in (run.folder.plots, run.folder.evaluation(TEST) / "plots") if path.exists()]
        run.say(f"figures: {run.folder.result}" + (f"; plots: {' and '.join(plots)}" if plots else ""))
        run.say(f"curves: tensorboard --logdir {run.folder.path}")
    return to_plain(result)


def write_plots(run: Run, evaluation: Evaluation) -> None:
    """The learning curve with the baselines, the calibration, and the pictures of the evaluation in TensorBoard."""
    save(learning_curve(run.folder.metrics, run.validation.references), run.folder.plots / "learning_curve.png")
    if run.folder.calibration.exists():
        picture = calibration_figure(run.folder.calibration)
        save(picture, run.folder.plots / "calibration.png")
        run.logger.figure("eval/calibration", picture, run.counters.step)
    if len(evaluation.timeseries):
        pictures = run.env.assessment.figures(evaluation.timeseries, list(evaluation.result["policies"]))
        for name, figure in pictures.items():
            run.logger.figure(f"eval/{name}", figure, run.counters.step)


def currency(env: Any) -> str:
    """The label of money in this environment."""
    return env.assessment.currency if env.assessment is not None else ""


def run_facts(run: Run, status: str) -> dict[str, Any]:
    """The section `run` of result.json."""
    c, config = run.counters, run.config
    elapsed = max(c.training_time_s, 1e-9)
    return {
        "name": config.name,
        "algorithm": config.algorithm.name,
        "env": config.env.name,
        "seed": config.seed,
        "folder": str(run.folder.path),
        "status": status,
        "checks": run.folder.checked(),
        "env_steps": c.step,
        "gradient_updates": c.updates,
        **({} if run.days is None else {"epochs": run.days.done(c.step) / run.days.per_epoch}),
        "best_step": c.best_step,
        "best_validation_score": c.best_score,
        "wall_time_s": c.wall_time_s,
        "training_time_s": c.training_time_s,
        "compile_time_s": c.compile_time_s,
        "env_steps_per_s": (c.step - config.training.warmup_steps) / elapsed,
        "updates_per_s": c.updates / elapsed,
    }


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
    names = ("capture", "profit_eur", "return_mean")
    found = evaluation.result["policies"]["best"]
    return {f"test/{name}": float(found[name]) for name in names if found.get(name) is not None}
