from dataclasses import replace

import pytest

from vmax.commands.evaluate import place
from vmax.config import compose, load
from vmax.files import write_json
from vmax.run_folder import RunFolder

OWN = load(compose(["env=pendulum"])).evaluation


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "test-best"),
        ({"bootstrap": 7, "plots": False}, "test-best"),
        ({"days": 28}, "test-best-28days"),
        ({"days": 28, "error_draws": 1}, "test-best-28days-1draws"),
    ],
)
def test_a_later_evaluation_stands_beside_the_one_that_the_run_made(tmp_path, changes, name):
    folder = RunFolder(tmp_path)
    assert place(folder, "best", "test", OWN, replace(OWN, **changes)) == folder.evaluation("test")
    write_json(folder.evaluation("test") / "result.json", {"run": {"status": "completed"}})
    assert place(folder, "best", "test", OWN, replace(OWN, **changes)) == folder.evaluation(name)
    assert place(folder, "best", "validation", OWN, OWN) == folder.evaluation("validation")


def test_a_later_evaluation_takes_the_place_of_another_later_one(tmp_path):
    folder = RunFolder(tmp_path)
    write_json(folder.evaluation("test") / "result.json", {"run": {"checkpoint": "last"}})
    assert place(folder, "best", "test", OWN, OWN) == folder.evaluation("test")
