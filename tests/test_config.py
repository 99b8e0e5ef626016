import shutil
from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from vmax import config, files
from vmax.config import check_devices, compose, load, to_mapping
from vmax.errors import UserError

FILES = {
    "algorithm/alpha.yaml": "name: alpha\nlearning_rate: 1e-3\n",
    "algorithm/beta.yaml": "name: beta\nlearning_rate: 1e-3\nnoise: 0.2\n",
    "env/world.yaml": "name: world\nsize: 1\n",
    "env/pond.yaml": "name: pond\nsize: 1\n",
    "network/mlp.yaml": "name: mlp\nhidden: [8]\n",
    "pair/pond_beta.yaml": (
        "# @package _global_\nalgorithm: {noise: 0.7}\nbudget: {share: 0.9}\nnetwork: {hidden: [4]}\n"
    ),
    "experiment/swap.yaml": (
        "# @package _global_\ndefaults:\n  - override /algorithm: beta\n"
        "algorithm: {noise: 0.8}\nbudget: {share: 0.8}\nseed: 7\n"
    ),
}


@pytest.fixture
def conf(tmp_path, monkeypatch):
    """The shipped train.yaml and modes with small groups of our own beside them."""
    shipped = config.config_dir()
    shutil.copytree(shipped / "mode", tmp_path / "mode")
    text = (shipped / "train.yaml").read_text()
    text = text.replace("algorithm: sac", "algorithm: alpha").replace("env: bess", "env: world")
    (tmp_path / "train.yaml").write_text(text)
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(config, "config_dir", lambda: tmp_path)
    return tmp_path


def test_pair_then_experiment_then_mode_then_overrides(conf):
    pair = compose(["env=pond", "algorithm=beta"])
    assert (pair.algorithm.noise, pair.network.hidden, pair.budget.share) == (0.7, [4], 0.9)
    experiment = compose(["env=pond", "experiment=swap"])
    assert (experiment.algorithm.name, experiment.algorithm.noise, experiment.network.hidden) == ("beta", 0.8, [4])
    assert (experiment.budget.share, experiment.seed) == (0.8, 7)
    mode = compose(["env=pond", "experiment=swap", "mode=quick"])
    assert (mode.budget.share, mode.seed) == (0.25, 7)
    assert compose(["env=pond", "experiment=swap", "mode=quick", "budget.share=0.1"]).budget.share == 0.1


def test_an_experiment_keeps_what_the_user_chose(conf):
    assert compose(["experiment=swap", "algorithm=alpha"]).algorithm.name == "alpha"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["algorithm=sacc"], "algorithm=sacc: unknown; available: alpha, beta"),
        (["mode=fast"], "mode=fast: unknown; available: production, quick, sanity"),
        (["experiment=none"], "experiment=none: unknown; available: swap"),
        (["algorithm.lrr=1"], "algorithm.lrr: unknown; did you mean algorithm.learning_rate? (see --cfg job)"),
        (["algorithm.lr=1"], "algorithm.lr: unknown; did you mean algorithm.learning_rate? (see --cfg job)"),
        (["algoritm=alpha"], "algoritm: unknown; did you mean algorithm? (see --cfg job)"),
        (["batch_size=64"], "batch_size: unknown; did you mean training.batch_size? (see --cfg job)"),
        (["foo=1"], "foo: unknown (see --cfg job)"),
        (["algorithm=alpha,beta"], "algorithm=alpha,beta: several values need --multirun"),
        (["algorithm=null"], "algorithm=null: must be the name of a choice"),
        (["~algorithm"], "~algorithm: must be the name of a choice"),
        (["seed=[1"], "seed=[1: cannot be read"),
        (["+seed=3"], "seed: Could not append to config"),
    ],
)
def test_what_cannot_be_composed_is_one_line(conf, overrides, message):
    with pytest.raises(UserError) as caught:
        compose(overrides)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_a_reference_to_nothing_is_one_line(conf):
    with pytest.raises(UserError, match="Interpolation key 'foo' not found"):
        to_mapping(compose(["seed=${foo}"]))


def test_composing_inside_a_running_hydra_leaves_it_as_it_was(conf):
    with initialize_config_dir(str(conf), version_base="1.3"):
        outer = GlobalHydra.instance().hydra
        assert compose(["seed=4"]).seed == 4
        with pytest.raises(UserError):
            compose(["seed=[1"])
        assert GlobalHydra.instance().hydra is outer
        assert hydra_compose("train").seed == 0


def test_a_mode_takes_its_share_in_whole_chunks_and_typed_numbers_stand():
    full, quick = to_mapping(compose([])), to_mapping(compose(["mode=quick"]))
    assert (full["total_steps"], full["training"]["eval_every"], full["checkpoint"]["every"]) == (
        1_536_000,
        102_400,
        307_200,
    )
    assert (quick["total_steps"], quick["training"]["eval_every"], quick["checkpoint"]["every"]) == (
        384_000,
        25_600,
        76_800,
    )
    typed = to_mapping(compose(["mode=quick", "total_steps=1e5", "training.eval_every=76_800"]))
    assert (typed["total_steps"], typed["training"]["eval_every"]) == (1e5, 76_800)


def test_the_shipped_configuration_loads_and_rounds_up_to_whole_chunks():
    loaded = load(compose(["total_steps=1e6"]))
    assert loaded.total_steps == 1_000_000 and loaded.planned_steps == 1_024_000
    assert loaded.env.name == "bess" and loaded.algorithm.name == "sac"


@pytest.mark.parametrize("network", ["lstm", "gru"])
def test_a_network_with_memory_brings_its_own_sizes_before_what_is_typed(network):
    loaded = load(compose([f"network={network}", "env=pendulum"]))
    assert (loaded.network.units, loaded.training.batch_size, loaded.network.hidden) == (64, 32, (64, 64))
    assert load(compose([f"network={network}", "training.batch_size=8"])).training.batch_size == 8


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+algorithm.lrr=1"], "algorithm.lrr: unknown; did you mean algorithm.learning_rate?"),
        (["seed=1.5"], "seed=1.5: must be a whole number"),
        (["seed=-1"], "seed=-1: must be from 0 to 2147483647"),
        (["device=tpu"], "device=tpu: must be one of auto, cpu, gpu"),
        (["threads=0"], "threads=0: must be at least 1"),
        (["total_steps=0"], "total_steps=0: must be at least 1"),
        (["~seed"], "seed: missing; must be a whole number"),
        (["training=5"], "training=5: must be a group of keys"),
        (["seed=1", "env=5"], "env=5: must be the name of a choice (see --help)"),
        (["budget.share=2"], "budget.share=2.0: must be above 0 and at most 1"),
        (["budget.share=much"], "budget.share=much: must be a number"),
        (["training.log_every=0"], "training.log_every=0: must be at least 1"),
        (["training.updates_per_iteration=0"], "training.updates_per_iteration=0: must be at least 1"),
        (
            ["training.num_envs=500"],
            "training.warmup_steps=25600: must be a multiple of training.num_envs * training.unroll = 500 * 1 = 500"
            " (nearest: 25500)",
        ),
        (["training.log_every=25700"], "training.log_every=25700: must be a multiple of training.num_envs"),
        (["training.replay_capacity=1000"], "training.replay_capacity=1000: must be a multiple of training.num_envs"),
        (
            ["training.replay_capacity=512"],
            "training.replay_capacity=512: must be at least training.warmup_steps=25600",
        ),
        (["training.warmup_steps=0"], "training.warmup_steps=0: must be at least training.batch_size=128 and"),
        (["training.eval_every=30000"], "training.eval_every=30000: must be a multiple of training.log_every = 25600"),
        (["checkpoint.every=1"], "checkpoint.every=1: must be a multiple of training.log_every = 25600"),
        (["checkpoint.keep=0"], "checkpoint.keep=0: must be at least 1"),
        (
            ["algorithm.n_step=50", "algorithm.counterfactuals=0"],
            "training.warmup_steps=25600: must be more than training.num_envs * algorithm.n_step = 512 * 50 = 25600",
        ),
        (["evaluation.plots=maybe"], "evaluation.plots=maybe: must be true or false"),
        (["training.schedule=days"], "training.schedule=days: must be one of steps, epochs"),
        (["training.epochs=3"], "training.epochs=3: must be null with training.schedule=steps"),
        (["training.days_per_epoch=3"], "training.days_per_epoch=3: must be null with training.schedule=steps"),
        (["training.schedule=epochs", "training.epochs=0"], "training.epochs=0: must be at least 1"),
        (["training.schedule=epochs", "training.days_per_epoch=0"], "training.days_per_epoch=0: must be at least 1"),
        (["training.day_order=random"], "training.day_order=random: must be one of shuffled, calendar"),
        (
            ["training.schedule=epochs", "total_steps=1e5"],
            "total_steps=100000.0: must be null with training.schedule=epochs; set training.epochs",
        ),
        (
            ["training.schedule=epochs", "checkpoint.save_replay=false"],
            "checkpoint.save_replay=false: must be true with training.schedule=epochs",
        ),
        (["logging.jsonl=1"], "logging.jsonl=1: must be true or false"),
        (["training.warmup_noise=-1"], "training.warmup_noise=-1.0: must be at least 0"),
        (["network=lstm", "network.units=0"], "network.units=0: must be at least 1"),
        (["network=gru", "training.sequences.kind=day"], "training.sequences.kind=day: must be one of episode, window"),
    ],
)
def test_what_does_not_fit_is_one_line(overrides, message):
    with pytest.raises(UserError) as caught:
        load(compose(overrides))
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_an_on_policy_run_has_sizes_that_follow_from_its_rollouts():
    loaded = load(compose(["algorithm=ppo", "env=cartpole", "algorithm.epochs=3", "algorithm.minibatches=8"]))
    t = loaded.training
    assert (t.warmup_steps, t.num_envs * t.unroll, t.batch_size, t.updates_per_iteration) == (0, 1024, 128, 24)
    assert loaded.planned_steps == loaded.total_steps == 196_608
    one = load(compose(["algorithm=a2c", "network=lstm"])).training
    assert (one.batch_size, one.updates_per_iteration) == (one.num_envs * one.unroll, 1)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        *(
            ([f"training.{key}={value}"], f"training.{key}={value}: must be null with algorithm=ppo, which learns from")
            for key, value in {
                "batch_size": 32,
                "updates_per_iteration": 8,
                "replay_capacity": 512,
                "warmup_steps": 100,
                "warmup_rule": "threshold",
                "warmup_noise": 0.1,
                "priorities.exponent": 0.6,
                "sequences.length": 8,
                "priorities": 5,
            }.items()
        ),
        (["checkpoint.save_replay=false"], "checkpoint.save_replay=false: must be true with algorithm=ppo"),
        (["algorithm.n_step=3"], "algorithm.n_step: unknown"),
        (
            ["algorithm.minibatches=7"],
            "algorithm.minibatches=7: must divide training.num_envs * training.unroll = 6144",
        ),
        (
            ["network=gru", "algorithm.minibatches=3"],
            "algorithm.minibatches=3: must divide training.num_envs = 256",
        ),
        (["training.num_envs=many"], "training.num_envs=many: must be a whole number"),
        (["training.unroll=0"], "training.unroll=0: must be at least 1"),
        (["training.log_every=100"], "training.log_every=100: must be a multiple of training.num_envs"),
        (["algorithm.gae_lambda=2"], "algorithm.gae_lambda=2.0: must be within [0, 1]"),
        (["algorithm.distribution=beta"], "algorithm.distribution=beta: must be one of gaussian, squashed"),
    ],
)
def test_what_has_no_meaning_on_policy_is_one_line(overrides, message):
    with pytest.raises(UserError) as caught:
        load(compose(["algorithm=ppo", *overrides]))
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_sizes_divide_by_the_devices():
    rollouts = load(compose(["algorithm=ppo", "env=pendulum", "network=lstm"]))
    check_devices(rollouts, 1)
    with pytest.raises(UserError, match=r"minibatches=16: must divide training\.num_envs = 16 on 2 devices"):
        check_devices(rollouts, 2)
    check_devices(load(compose(["algorithm=ppo", "env=pendulum"])), 2)

    loaded = load(compose([]))
    check_devices(loaded, 2)
    with pytest.raises(UserError, match=r"training\.num_envs=512: must be a multiple of the number of devices = 3"):
        check_devices(loaded, 3)


def test_an_installed_package_brings_its_own_folder(tmp_path, monkeypatch):
    module = tmp_path / "vmax" / "files.py"
    module.parent.mkdir()
    monkeypatch.setattr(files, "__file__", str(module))
    assert files.config_dir() == tmp_path / "conf"
    (tmp_path / "vmax" / "conf").mkdir()
    assert files.config_dir() == tmp_path / "vmax" / "conf"


def test_every_number_of_train_yaml_has_a_comment():
    lines = (Path(config.config_dir()) / "train.yaml").read_text().split("\nhydra:")[0].splitlines()
    numbers = [line for line in lines if line.partition("#")[0].rstrip()[-1:].isdigit()]
    assert len(numbers) > 10
    assert all("#" in line for line in numbers)


@pytest.mark.parametrize("algorithm", ["sac", "td3"])
@pytest.mark.parametrize(
    "experiment", sorted(path.stem for path in (config.config_dir() / "experiment").glob("*.yaml"))
)
def test_every_experiment_composes_and_differs_from_the_default(experiment, algorithm):
    plain, changed = (
        to_mapping(compose([f"algorithm={algorithm}", *more])) for more in ([], [f"experiment={experiment}"])
    )
    load(changed)
    assert changed["env"] != plain["env"] or changed["algorithm"] != plain["algorithm"]
