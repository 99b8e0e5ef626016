"""A question that does not apply to a sound world is skipped with what was measured; a fault is not taken for one."""

import pytest
import sound_worlds as worlds
from sound import SIZES

from vmax.checks.finding import judge
from vmax.checks.registry import BY_ID, run_checks
from vmax.checks.settings import thresholds_of
from vmax.checks.subject import Subject
from vmax.config import compose, to_mapping

SHIPPED = thresholds_of(to_mapping(compose([], "check"))["thresholds"])
STANDS_ALONE = "each step stands alone"


def found(check, env):
    return judge(BY_ID[check], Subject(env, SIZES), SHIPPED[check], SHIPPED[check])


@pytest.mark.parametrize(
    ("env", "skipped"),
    [
        (worlds.Corridor(), {"seeding": "one start and no noise", "param_live": "no single numbers"}),
        (worlds.TwoStarts(), {"seeding": "2 distinct starts of 256 keys", "param_live": "no single numbers"}),
        (worlds.Bandit(1), {"action_reaches_plant": STANDS_ALONE, "timescale": "one step", "time_limit": "one step"}),
        (worlds.Bandit(12), {"action_reaches_plant": STANDS_ALONE, "timescale": STANDS_ALONE}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_check_fails_on_a_sound_world(env, skipped):
    told = {one.id: one for one in run_checks(env, SIZES, SHIPPED, SHIPPED)}
    assert [one for one in told.values() if one.status == "FAIL"] == []
    for check, reason in skipped.items():
        assert told[check].status == "SKIP" and reason in told[check].detail, told[check]


def test_a_number_that_switches_the_noise_off_is_named():
    told = found("seeding", worlds.Quiet())
    assert told.status == "SKIP" and "params.noise switches the noise off" in told.detail, told


def test_episodes_that_begin_where_one_has_ended_by_chance_are_sound():
    told = found("final_observation", worlds.Signs(12))
    assert told.status == "PASS", told


def test_a_bandit_without_a_context_has_nothing_to_show():
    told = found("obs_live", worlds.Arms(1))
    assert told.status == "SKIP" and "nothing to be seen" in told.detail, told


@pytest.mark.parametrize(
    ("check", "env"),
    [
        ("seeding", worlds.KeyOfItsOwn()),
        ("obs_live", worlds.BlindBandit(1)),
        ("seeding", worlds.KeyInTheState()),
        ("action_reaches_plant", worlds.HalfRead(12)),
        ("action_reaches_plant", worlds.OnlyCosts(12)),
        ("episode_length", worlds.WithinEpisodesOfAnyLength()),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_fault_is_not_taken_for_a_world_to_which_the_question_does_not_apply(check, env):
    told = found(check, env)
    assert told.status == "FAIL" and "could not be measured" not in told.detail, told
    assert f"exempt={{{check}" in told.hint
