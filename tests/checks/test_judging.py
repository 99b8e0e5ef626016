"""From a measured value to a finding: thresholds, relaxing, exemptions, what cannot be measured; the table and JSON."""

import io
import json
import math
from types import SimpleNamespace

import pytest
from rich.console import Console
from sound import SIZES, Tank

from vmax import remembered
from vmax.checks import memory, report
from vmax.checks.finding import Check, Measured, Skip, judge, status_of
from vmax.checks.registry import BY_ID
from vmax.checks.settings import Scaling, exemptions_of, scaling_of, thresholds_of
from vmax.checks.subject import Subject
from vmax.envs.environment import Checks
from vmax.errors import UserError
from vmax.evaluation.report import parts
from vmax.files import to_plain, write_json

BOTH = {"fail_above": 10.0, "warn_above": 5.0, "warn_below": 1.0}
LOW = {"warn_above": 0.0}


class Excused(Tank):
    @property
    def checks(self):
        return Checks(exempt={"one": "there is a reason", "param_live/pump": "it rusts", "obs_live/demand": "dry"})


def measuring(value, name="one"):
    return Check(name, "kind", "unit", "look here", lambda subject: value)


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (11.0, "FAIL"),
        (10.0, "WARN"),
        (5.0, "PASS"),
        (1.0, "PASS"),
        (0.9, "WARN"),
        (math.nan, "FAIL"),
        (math.inf, "FAIL"),
    ],
)
def test_a_value_is_judged_by_its_thresholds(value, status):
    assert status_of(value, BOTH) == status
    found = judge(measuring(Measured(value)), Subject(Tank(), SIZES), BOTH, BOTH)
    hints = {"PASS": "", "WARN": "look here", "FAIL": "look here; to leave it out: exempt={one: REASON}"}
    assert (found.status, found.hint, found.relaxed) == (status, hints[status], {})


def test_what_is_looser_than_shipped_is_listed_as_relaxed():
    looser = {"fail_above": 20.0, "warn_above": 4.0, "warn_below": 0.5}
    found = judge(measuring(Measured(11.0)), Subject(Tank(), SIZES), looser, BOTH)
    expected = {"fail_above": {"set": 20.0, "shipped": 10.0}, "warn_below": {"set": 0.5, "shipped": 1.0}}
    assert found.status == "WARN" and found.relaxed == expected
    assert report.outcome([found]) == "warn: one; relaxed: one"
    assert report.record(Tank(), [found], 3)["relaxed"] == {"one": expected}


def test_a_check_that_is_exempt_or_does_not_apply_is_skipped_with_its_reason():
    env = Subject(Excused(), SIZES)
    assert judge(measuring(Measured(99.0)), env, BOTH, BOTH).detail == "there is a reason"
    found = judge(measuring(Skip("no such thing"), "two"), env, BOTH, BOTH)
    assert (found.status, found.value, found.detail) == ("SKIP", None, "no such thing")


def test_the_user_leaves_out_a_check_or_one_name_besides_what_the_environment_exempts():
    given = {"two": "not today", "param_live/valve": "stuck"}
    env = Subject(Excused(), SIZES, exempt=given)
    told = [judge(measuring(Measured(99.0), name), env, BOTH, BOTH).detail for name in ("one", "two")]
    assert told == ["there is a reason", "not today"]
    assert env.exempt("param_live", ["pump", "valve", "price"])[0] == ["price"]
    record = report.record(Tank(), [], 0, given)
    assert record["outcome"] == "pass; exempt: two, param_live/valve" and record["exempt"] == given


def test_what_was_left_out_stands_in_the_table_and_on_the_page_with_its_reason(capsys):
    found = judge(measuring(Measured(2.0)), Subject(Tank(), SIZES), BOTH, BOTH)
    given = {"param_live/valve": "stuck <shut>"}
    report.show("tank", [found], given)
    assert "exempt: param_live/valve: stuck <shut>\n" in capsys.readouterr().out
    page = "".join(parts.checks(report.record(Tank(), [found], 0, given)))
    assert "<code>param_live/valve</code>: stuck &lt;shut&gt;" in page


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seding": "x"}, "exempt: seding: is no check; there are seeding, finite"),
        ({"seding/pump": "x"}, "exempt: seding/pump: is no check; there are seeding, finite"),
        ({"seeding": None}, "exempt: seeding: null: must be the reason, a text"),
        ({"seeding": " "}, "exempt: seeding:  : must be the reason, a text"),
        (["seeding"], "exempt=[seeding]: must be null or checks with a reason each: {headroom: why}"),
    ],
)
def test_wrong_exemptions_are_one_line(given, message):
    with pytest.raises(UserError) as raised:
        exemptions_of(given, ["seeding", "finite"])
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("given", "override", "on"),
    [
        ({"normalize_rewards": False}, "algorithm.normalize_rewards=true", False),
        ({"normalize_rewards": True}, "algorithm.normalize_rewards=true", True),
        ({}, "", False),
    ],
)
def test_the_remedy_for_the_size_of_rewards_is_the_setting_that_the_algorithm_has(given, override, on):
    assert scaling_of(SimpleNamespace(**given)) == Scaling(override, on)
    told = judge(BY_ID["reward_scale"], Subject(Tank(), SIZES, scaling=Scaling(override, on)), LOW, LOW)
    assert (told.status == "SKIP") == on and (on or told.hint.endswith(override))


def test_names_are_exempt_by_what_they_belong_to():
    env = Subject(Excused(), SIZES)
    assert env.exempt("param_live", ["pump", "pump.size", "pumps", "valve"]) == (
        ["pumps", "valve"],
        ["pump and 1 more: it rusts"],
    )
    assert env.exempt("obs_live", ["demand_3", "demand"])[0] == []


def test_a_check_that_breaks_fails_in_one_line_and_a_mistake_of_the_user_passes_through():
    def breaks(subject):
        raise ValueError("bad shape\nsecond line")

    def mistaken(subject):
        raise UserError("prices.csv: row 3: bad")

    found = judge(Check("one", "kind", "unit", "look", breaks), Subject(Tank(), SIZES), BOTH, BOTH)
    assert (found.status, found.detail) == ("FAIL", "could not be measured: ValueError: bad shape")
    with pytest.raises(UserError, match="row 3: bad"):
        judge(Check("one", "kind", "unit", "look", mistaken), Subject(Tank(), SIZES), BOTH, BOTH)


def test_the_table_and_the_file_hold_every_finding():
    subject = Subject(Tank(), SIZES)
    values = {
        "one": Measured(11.0, "here [x]"),
        "two": Measured(2.0),
        "three": Skip("none"),
        "four": Measured(math.nan),
    }
    findings = [judge(measuring(value, name), subject, BOTH, BOTH) for name, value in values.items()]
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(report.table("tank", findings))
    text = console.export_text()
    lines = {name: next(line for line in text.splitlines() if name in line) for name in values}
    assert "FAIL" in lines["one"] and "here [x] → look here" in lines["one"] and "11 unit" in lines["one"]
    assert "PASS" in lines["two"] and "SKIP" in lines["three"] and "none" in lines["three"]
    written = json.loads(json.dumps(to_plain(report.record(Tank(), findings, 0)), allow_nan=False))
    assert written["outcome"] == "fail: one, four" and [found["id"] for found in written["checks"]] == list(values)
    assert (
        written["checks"][0]["threshold"] == "FAIL > 10, WARN > 5, WARN < 1" and written["checks"][3]["value"] is None
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"finite": {"fail_above": 0}, "finit": {}}, "thresholds.finit: unknown; did you mean thresholds.finite?"),
        (
            {"finite": {"fail_below": 0}},
            "thresholds.finite.fail_below: unknown; did you mean thresholds.finite.fail_above",
        ),
        ({"finite": {"fail_above": "x"}}, "thresholds.finite.fail_above=x: must be a number"),
        ({"finite": 3}, "thresholds.finite=3: must be a group of keys"),
        ({}, "thresholds.finite.fail_above: missing"),
        (7, "thresholds=7: must be a group of keys"),
    ],
)
def test_wrong_thresholds_are_one_line(given, message):
    with pytest.raises(UserError) as raised:
        thresholds_of(given, {"finite": {"fail_above": 0.0}})
    assert str(raised.value).startswith(message)


def test_a_pass_is_remembered_for_the_same_configuration_data_and_code_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VMAX_COMPILATION_CACHE", "on")
    monkeypatch.setenv("VMAX_REMEMBER", "on")
    data = tmp_path / "prices.csv"
    data.write_text("1\n")
    config = {"name": "bess", "data": {"path": str(data)}, "days": 7}
    key = memory.fingerprint(config, {"seed": 0})
    assert key == memory.fingerprint(dict(config), {"seed": 0}) and memory.passed(key) is None
    memory.remember(key, {"outcome": "pass"})
    assert memory.passed(key) == {"outcome": "pass"}
    assert memory.fingerprint({**config, "days": 8}, {"seed": 0}) != key
    assert memory.fingerprint(config, {"seed": 1}) != key
    data.write_text("12\n")
    assert memory.fingerprint(config, {"seed": 0}) != key
    data.unlink()
    monkeypatch.setattr(memory, "SOURCES", ("envs", "data", "checks"))
    assert memory.fingerprint(config, {"seed": 0}) != key
    monkeypatch.setenv("VMAX_COMPILATION_CACHE", "off")
    assert memory.passed(key) is None
    assert {path.relative_to(tmp_path).parts[:3] for path in tmp_path.rglob("*.json")} == {("home", ".cache", "vmax")}


def test_a_cache_that_cannot_be_written_or_read_is_no_mistake(monkeypatch, tmp_path):
    (tmp_path / ".cache").write_text("a file where a folder should be")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VMAX_COMPILATION_CACHE", "on")
    monkeypatch.setenv("VMAX_REMEMBER", "on")
    memory.remember("key", {"outcome": "pass"})
    assert memory.passed("key") is None
    (tmp_path / ".cache").unlink()
    record = remembered.place(memory.KIND, "key.json")
    assert record is not None
    write_json(record, {"outcome": "pass"})
    record.write_text("{broken")
    assert memory.passed("key") is None
