"""The page of one run: what it says, that it is one safe file, and that a browser shows and prints it."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from browser import BROWSER, MISSING, browser
from sample_run import DAY_EUR, battery_run, embedded, pendulum_run

from vmax.errors import UserError
from vmax.evaluation.report import attempted, write_run_report
from vmax.evaluation.report.markup import tag
from vmax.evaluation.report.series import Shown, compact, daily_value_eur, dispatch_view, lead_eur, local
from vmax.evaluation.report.source import Source
from vmax.evaluation.report.words import cards, summary
from vmax.files import DiskFull, write_json
from vmax.run_folder import RunFolder

ATTACK = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"


class Reader(HTMLParser):
    """Elements with their attributes, and the text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._inside = "", ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside not in ("script", "style"):
            self.text += data


def page_of(run: Path) -> str:
    return write_run_report(run).read_text(encoding="utf-8")


# --- what it says --------------------------------------------------------------------------------------------------


def test_a_planner_that_earns_more_is_named_first_with_the_interval_of_the_difference(tmp_path):
    verdict, *more = summary(Source.open(battery_run(tmp_path / "run")))
    # 12 against 10 EUR on each of 21 days, without any spread between days
    assert verdict == "mpc, a planner, is ahead of the learned policy by EUR 42 (95\u00a0% interval 42 to 42)."
    assert more[0].startswith("The learned policy captures 0.500 (95\u00a0% interval 0.490 to 0.510) of what perfect")
    assert "Ahead of it, by capture: mpc (0.600)." in more
    assert "Behind of it, by capture: gated_two_cycle (0.400)." in more
    assert any("11 Mar 2024 to 31 Mar 2024" in line and "means over 2 draws" in line for line in more)
    assert any("step 300" in line and "0.5)" in line for line in more)


def test_a_learned_policy_is_called_ahead_only_of_what_it_beats(tmp_path):
    run = battery_run(tmp_path / "run", {**DAY_EUR, "mpc": 9.0})
    verdict = summary(Source.open(run))[0]
    assert verdict.startswith("The learned policy is ahead of every rule and planner: of mpc by EUR 21 (95\u00a0%")


def test_a_lead_that_comes_and_goes_is_not_called_one(tmp_path):
    run = battery_run(tmp_path / "run", {**DAY_EUR, "mpc": 10.1}, days=56, noise_eur=5.0)
    assert summary(Source.open(run))[0].endswith("; this period cannot tell them apart).")


def test_headline_figures_have_their_intervals(tmp_path):
    found = {card.name: (card.value, card.beside) for card in cards(Source.open(battery_run(tmp_path / "run")))}
    assert found["capture"] == ("0.500", "95\u00a0%: 0.490 to 0.510")
    assert found["profit, EUR"] == ("210", "95\u00a0%: 209 to 211")
    assert found["behind mpc, EUR"] == ("42", "95\u00a0%: 42 to 42")
    assert found["training"] == ("2.5 min", "300 steps")


def test_the_page_has_every_part_and_the_command_that_does_it_again(tmp_path):
    run = battery_run(tmp_path / "run", name="mine")
    page = page_of(run)
    reader = Reader(page)
    sections = [attributes["id"] for name, attributes in reader.elements if name == "section"]
    assert sections == [
        *("summary", "learning", "dispatch", "policies", "groups", "calibration", "checks", "configuration", "origin"),
        "reproduce",
    ]
    assert "python scripts/train.py algorithm=sac network=lstm env=bess seed=3 threads=2" in reader.text
    assert "/somewhere/else" not in reader.text.split("How to reproduce")[-1]
    assert "No checks are on record" in reader.text and "gate = 45" in reader.text
    names = {trace["name"] for trace in embedded(page)["figures"]["learning"]["data"]}
    assert names == {"perfect_foresight", "mpc", "learned", "best"}  # doing nothing is what the others are measured by


def test_checks_are_shown_worst_first(tmp_path):
    run = battery_run(tmp_path / "run")
    findings = [
        {"id": "finite", "status": "PASS", "value": 0.0, "unit": "values", "threshold": "FAIL > 0", "hint": ""},
        {
            "id": "leak",
            "status": "FAIL",
            "value": 0.25,
            "threshold": "FAIL > 0",
            "hint": f"look {ATTACK}",
            "relaxed": {},
        },
        {"id": "speed", "status": "SKIP", "value": None, "threshold": "", "detail": "not here"},
    ]
    write_json(run / "checks.json", {"checks": findings})
    text = Reader(page_of(run)).text
    assert "1 FAIL, 1 PASS, 1 SKIP." in text and text.index("leak") < text.index("finite") < text.index("speed")
    assert ATTACK in text  # as text
    for broken in ("{", "[1, 2]", "{}"):
        (run / "checks.json").write_text(broken)
        assert "No checks are on record" in Reader(page_of(run)).text


def test_a_run_judged_by_episodes_has_a_page_of_what_there_is(tmp_path):
    page = page_of(pendulum_run(tmp_path / "run"))
    text = Reader(page).text
    # 150 ± 1.96 · 20 / 10
    assert "mean return of -150.0 (95\u00a0% interval -153.9 to -146.1) over 100 greedy episodes" in text
    assert "no baselines" in text and "capture" not in text
    assert embedded(page)["figures"].keys() == {"returns"} and "Dispatch" not in text


@pytest.mark.parametrize("status", ["failed", "interrupted", "running"])
def test_a_run_that_was_not_evaluated_says_so_and_no_figure(tmp_path, status):
    folder = RunFolder(battery_run(tmp_path / "run"))
    folder.result.unlink()
    folder.finish(status, "step 200: train/q is not finite")
    text = Reader(page_of(folder.path)).text
    assert "step 200: train/q is not finite." in text and "It was not evaluated" in text
    assert "captures" not in text and "ahead of" not in text


def test_a_run_that_went_on_elsewhere_says_with_what_and_names_its_files(tmp_path):
    folder = RunFolder(battery_run(tmp_path / "run"))
    first = folder.record()["history"][0]
    later = {**first, "step": 1200, "versions": {**first["versions"], "jax": "9.9.9"}}
    write_json(folder.run_json, {**folder.record(), "history": [first, later], "resumed": [later["started"]]})
    one = {"path": "/data/prices.csv", "files": {"prices.csv": {"bytes": 1, "sha256": "ab" * 32}}, "copied": True}
    write_json(folder.input_record, {"env.data.path": one})
    told = Reader(page_of(folder.path)).text
    assert f"{later['started']} at step 1,200 with jax 9.9.9 (was {first['versions']['jax']})" in told
    assert "gives perhaps others in the last digits" in told and "the same figures" not in told
    assert "env.data.path=/data/prices.csv (sha256 abababab)" in told and "are in its folder inputs." in told


def test_an_interrupted_run_is_compared_with_what_was_evaluated(tmp_path):
    few = {name: DAY_EUR[name] for name in ("best", "do_nothing", "perfect_foresight")}
    folder = RunFolder(battery_run(tmp_path / "run", few))
    folder.finish("interrupted", "SIGINT at step 200; go on with resume=")
    lines = summary(Source.open(folder.path))
    assert lines[0] == "Only the optimum and doing nothing were evaluated beside the learned policy."
    assert "The run is interrupted: SIGINT at step 200; go on with resume=." in lines


def test_a_broken_record_is_one_clear_line(tmp_path):
    run = battery_run(tmp_path / "run")
    (run / "result.json").write_text('{"run": ')
    with pytest.raises(UserError, match="run: cannot be read") as caught:
        write_run_report(run)
    assert "\n" not in str(caught.value) and not (run / "report.html").exists()


def test_a_page_that_fails_takes_nothing_with_it():
    def fails(error):
        raise error

    assert attempted(lambda: fails(KeyError("x"))).startswith("warning: no report.html (KeyError: 'x')")
    assert attempted(lambda: fails(DiskFull("x/report.html: no space"))).startswith("warning: x/report.html: no space;")


# --- the figures behind it -----------------------------------------------------------------------------------------


def test_days_are_those_of_the_market_and_draws_are_averaged():
    # 23:00 UTC on 30 March is midnight in Amsterdam; the next local day has 23 hours
    utc = pd.to_datetime(["2024-03-30T22:00", "2024-03-30T23:00", "2024-03-31T21:00", "2024-03-31T22:00"])
    both = pd.concat([pd.DataFrame({"utc": utc, "policy": "a", "lane": lane}) for lane in (0, 1)])
    table = both.assign(profit_eur=[1, 2, 4, 8, 3, 4, 6, 10], terminal_value_eur=[0, 0, 0, 1] * 2)
    daily = daily_value_eur(table, "Europe/Amsterdam")
    assert daily["a"].tolist() == [2.0, 8.0, 10.0]
    assert [str(day.date()) for day in daily.index] == ["2024-03-30", "2024-03-31", "2024-04-01"]


def test_a_lead_is_that_of_the_same_days():
    days = pd.date_range("2024-01-01", periods=60)
    common = np.random.default_rng(0).normal(100, 50, 60)
    daily = pd.DataFrame({"ours": common + 1.0, "theirs": common}, index=days)
    lead, (low, high) = lead_eur(daily, "ours", "theirs") or pytest.fail("no lead")
    assert (lead, low, high) == pytest.approx((60.0, 60.0, 60.0))  # what both share takes no part in it
    assert lead_eur(daily, "ours", "nobody") is None


def test_the_dispatch_keeps_the_clock_of_the_market():
    # from 22:00 on 30 March, Amsterdam: 22, 23, 0, 1, then 3 o'clock; the first draw is shown
    utc = pd.date_range("2024-03-30T21:00", periods=6, freq="h")
    one = pd.DataFrame({"utc": utc, "policy": "best", "price_eur_per_mwh": [1.0, 2.5, 3.0, 4.004, np.nan, -6.0]})
    one = one.assign(charge_mw=[0, 0, 1.23456, 0, 0, 0], discharge_mw=[0, 0.5, 0, 0, 0, 0], soc=0.5)
    table = pd.concat([one.assign(lane=0), one.assign(lane=1, soc=0.9)])
    view = dispatch_view([Shown("best", "learned", "#1565c0", table, True)], "Europe/Amsterdam", "EUR")
    assert view is not None
    assert view["runs"] == [("2024-03-30T22:00", 4), ("2024-03-31T03:00", 2)]
    assert view["price"] == [1, 2.5, 3, 4, None, -6] and view["policies"][0]["charge"] == [50] * 6
    assert view["policies"][0]["power"] == [0, 0.5, -1.235, 0, 0, 0]
    assert local(utc.to_numpy()[3:5], "Europe/Amsterdam").astype("datetime64[h]").astype(str).tolist() == [
        *("2024-03-31T01", "2024-03-31T03")
    ]


def test_policies_with_other_steps_are_left_out_of_the_dispatch(tmp_path):
    table = Source.open(battery_run(tmp_path / "run")).timeseries
    shorter = table.query("policy == 'mpc' and lane == 0").iloc[1:]
    shown = [Shown("best", "best", "#1565c0", table, True), Shown("mpc", "mpc", "#e07b00", shorter, True)]
    view = dispatch_view(shown, "UTC", "EUR")
    assert view is not None and [policy["name"] for policy in view["policies"]] == ["best"]


def test_numbers_take_few_characters():
    assert json.dumps(compact(np.array([0.0, 1.23456, -2.0, np.nan, np.inf, -0.0001]), 2)) == (
        "[0, 1.23, -2, null, null, 0]"
    )


def test_a_year_of_quarter_hours_stays_below_eight_megabytes(tmp_path):
    run = battery_run(tmp_path / "run", days=366, minutes=15)
    page = page_of(run)
    view = embedded(page)["views"]["dispatch"]
    assert [policy["name"] for policy in view["policies"]] == ["best", "gated_two_cycle", "mpc", "perfect_foresight"]
    assert len(view["price"]) == 366 * 96 and view["left_out"] == 0
    assert len(page.encode()) < 8e6


def test_every_figure_is_one_that_plotly_knows(tmp_path):
    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return "#123456" if isinstance(value, str) and value.startswith("@") else value

    data = embedded(page_of(battery_run(tmp_path / "run")))
    episodes = embedded(page_of(pendulum_run(tmp_path / "other")))["figures"]
    days = data["views"]["seasons"]["options"]
    assert list(days) == ["after 300 steps", "after 200 steps"]
    assert days["after 200 steps"]["data"][1]["y"][:2] == [20, 20]  # charge, %
    figures = {**data["figures"], **data["views"]["metrics"]["options"], **episodes, **days}
    assert {"learning", "monthly", "gap", "calibration", "returns", "train/critic_loss"} <= figures.keys()
    for found in figures.values():
        go.Figure(plain(found))  # raises for an unknown key or value


# --- one safe file -------------------------------------------------------------------------------------------------


def test_names_and_settings_are_text_wherever_they_stand(tmp_path):
    run = battery_run(tmp_path / "run", name=ATTACK, overrides=[f"name={ATTACK}"])
    folder = RunFolder(run)
    folder.finish("completed", ATTACK)
    page = page_of(run)
    reader = Reader(page)
    assert [name for name, _ in reader.elements].count("script") == 3 and "img" not in dict(reader.elements)
    assert not any(key.startswith("on") for _, attributes in reader.elements for key in attributes)
    assert reader.text.count(ATTACK) >= 4  # heading, overrides, all settings, reason
    assert str(tag("p", '<b>"', data_x='"><i>')) == '<p data-x="&quot;&gt;&lt;i&gt;">&lt;b&gt;&quot;</p>'


def test_nothing_is_requested_from_anywhere(tmp_path):
    reader = Reader(page_of(battery_run(tmp_path / "run")))
    policy = next(a["content"] for name, a in reader.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'; script-src 'sha256-")
    assert not [a for name, a in reader.elements if name == "link" or "src" in a]
    hrefs = [a["href"] for _, a in reader.elements if "href" in a]
    assert hrefs and all(href is not None and href.startswith("#") for href in hrefs)


# --- in a browser --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(BROWSER is None, reason=MISSING)
def test_a_browser_shows_the_page_and_its_controls_work(tmp_path):
    run = battery_run(tmp_path / "run", name=ATTACK)
    write_run_report(run)
    with browser(tmp_path / "profile") as page:
        page.open(run / "report.html")
        host = 'document.querySelector("[data-view=dispatch]").dataset'
        assert page.value(f"{host}.shown") == "best perfect_foresight"
        lines = 'document.querySelectorAll("[data-view=dispatch] .xy .scatterlayer .trace").length'
        before, seen = page.value(lines), page.screenshot(tmp_path / "before.png")
        page.click("button[data-policy=mpc]")
        assert page.value(f"{host}.shown") == "best perfect_foresight mpc"
        assert page.value(lines) == before + 1
        assert page.value('document.querySelector("button[data-policy=mpc]").getAttribute("aria-pressed")') == "true"
        first = page.value(f"{host}.from")
        page.click("button[data-go=on]")
        assert pd.Timestamp(page.value(f"{host}.from")) - pd.Timestamp(first) == pd.Timedelta(days=7)
        page.value('document.querySelector("select").value = "train/critic_loss"')
        picture = page.screenshot(tmp_path / "after.png")
        assert picture.startswith(b"\x89PNG") and len(picture) > 20_000 and picture != seen
        assert page.value("window.hacked") is None
        assert page.requests() == [] and page.complaints() == []


@pytest.mark.skipif(BROWSER is None, reason=MISSING)
def test_the_page_fits_a_phone_and_paper(tmp_path):
    run = battery_run(tmp_path / "run")
    write_run_report(run)
    with browser(tmp_path / "profile") as page:
        page.open(run / "report.html", width=390, height=844, phone=True)
        assert page.value("document.documentElement.scrollWidth") == page.value("innerWidth") == 390
        assert page.value('Math.max(...[...document.querySelectorAll(".plot svg")].map(e => e.clientWidth))') <= 390
        paper = page.printed()
        assert paper.startswith(b"%PDF") and 2 <= len(re.findall(rb"/Type\s*/Page\b", paper)) <= 12
        assert page.complaints() == []
