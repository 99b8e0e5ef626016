from vmax.config import compose, load
from vmax.training.finish import hparams


def test_the_table_of_settings_tells_runs_apart():
    one, other = (
        hparams(load(compose(["env=bess", *overrides])))
        for overrides in ((), ("env.information=forecast", "network=lstm", "name=x", "seed=1"))
    )
    assert {key for key in one.keys() & other.keys() if one[key] != other[key]} >= {
        *("env.information", "network.name", "name", "seed"),
    }
    assert "network.units" in other and "env.battery" not in one
