"""Every check fails, or warns where that is its worst, on an environment broken for it, and passes on the sound one."""

from functools import lru_cache

import pytest
from broken import BROKEN
from sound import SIZES, Tank

from vmax.checks.finding import judge
from vmax.checks.registry import BY_ID, CHECKS
from vmax.checks.settings import thresholds_of
from vmax.checks.subject import Subject
from vmax.config import compose, to_mapping

SHIPPED = thresholds_of(to_mapping(compose([], "check"))["thresholds"])
sound = lru_cache(maxsize=1)(lambda: Subject(Tank(), SIZES))
"""One subject for all tests of this process: its runs are made once."""


def found(check, subject):
    return judge(BY_ID[check], subject, SHIPPED[check], SHIPPED[check])


@pytest.mark.parametrize(("check", "env", "worst"), BROKEN, ids=[f"{c}-{type(e).__name__}" for c, e, _ in BROKEN])
def test_a_broken_environment_is_found_out(check, env, worst):
    told = found(check, Subject(env, SIZES))
    assert told.status == worst, told
    assert told.hint and "could not be measured" not in told.detail, told


@pytest.mark.parametrize("check", [check.id for check in CHECKS])
def test_the_sound_environment_passes(check):
    told = found(check, sound())
    assert told.status == ("SKIP" if check == "time_limit" else "PASS"), told


def test_every_check_has_a_broken_environment_and_thresholds():
    broken = {check for check, _, _ in BROKEN}
    assert set(BY_ID) == set(SHIPPED) and len(BY_ID) == len(CHECKS)
    assert set(BY_ID) - broken == {"throughput"}  # reports, never judges
    assert SHIPPED["throughput"] == {}
    worst = {check: "FAIL" if any(name.startswith("fail") for name in SHIPPED[check]) else "WARN" for check in broken}
    for check in broken:
        assert worst[check] in {status for other, _, status in BROKEN if other == check}, check
