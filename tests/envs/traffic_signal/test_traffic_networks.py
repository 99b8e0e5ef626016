"""Files of networks: what is read, and every mistake that a file of one's own can have, each told in one line."""

from pathlib import Path

import pytest

import vmax
from vmax.envs.traffic_signal.arrays import CAR_ONLY, Sizes, build, stack
from vmax.envs.traffic_signal.network import find
from vmax.envs.traffic_signal.network_file import read
from vmax.errors import UserError

GOOD = """
links:
  a: {from: x, to: y, length_m: 200, speed_kmh: 50, turns: {b: 1.0}}
  c: {from: z, to: y, length_m: 200, speed_kmh: 50, turns: {b: 1.0}}
  b: {from: y, to: w, length_m: 200, speed_kmh: 50}
signals:
  y: {phases: {one: [a], two: [c]}}
demand:
  a: {per_h: 300}
  c: {per_h: 300}
"""


def test_a_network_of_ones_own_is_read_and_padded_beside_others(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(GOOD)
    own, shipped = read(path), read(find("simple"))
    sizes = Sizes.of([own, shipped], 15.0)
    both = stack([build(network, sizes, CAR_ONLY, 15.0) for network in (own, shipped)])
    assert both.roads.cells.shape == (2, 4, 20) and both.green.shape == (2, 1, 2, 4)
    assert both.roads.cells.sum(axis=2).tolist() == [[13.0, 13.0, 13.0, 0.0], [20.0] * 4]
    assert own.demand["a"].swing == (300.0, 300.0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("turns: {b: 1.0}}\n  c", "turns: {b: 0.9}}\n  c", r"links\.a\.turns: add up to 0\.9, must be 1"),
        ("{b: 1.0}}\n  c", "{d: 1.0}}\n  c", r"links\.a\.turns\.d: no such link; links are a, c, b"),
        ("length_m: 200, speed_kmh: 50}", "length_m: -1, speed_kmh: 50}", r"links\.b\.length_m=-1: must be above 0"),
        ("length_m: 200, speed_kmh: 50}", "speed_kmh: 50}", r"links\.b\.length_m: missing"),
        ("length_m: 200, speed_kmh: 50}", "length: 2}", r"links\.b: unknown key 'length'; allowed: from, lanes"),
        ("two: [c]", "two: [d]", r"signals\.y\.phases\.two: no link d; links are a, c, b"),
        (", two: [c]", "", r"signals\.y\.phases: 1 given, at least 2 needed"),
        ("  c: {per_h: 300}\n", "", r"links\.c: no vehicle ever comes here"),
        ("c: {per_h: 300}", "c: {per_h: x}", r"demand\.c\.per_h='x': must be a number"),
        ("c: {per_h: 300}", "c: {per_h: 300}\n  b: {per_h: 3}", r"demand\.b: other links turn into it"),
        ("demand:", "demnd:", r"the file: unknown key 'demnd'"),
        ("demand:", "links: {}\ndemand:", r"links: given twice, in lines 2 and 8; each key is given once"),
        ("  c: {from: z", "  a: {from: z", r"links\.a: given twice, in lines 3 and 4; each key is given once"),
        ("{from: y, to: w,", "{from: q, to: w,", r"links\.a\.turns\.b: b begins at q, but a ends at y"),
        ("{from: y, to: w,", "{from: y, to: y,", r"links\.b: begins and ends at y"),
        ("{b: 1.0}}\n  c", "{a: 1.0}}\n  c", r"links\.a\.turns\.a: a link cannot turn into itself"),
        (
            "  y: {phases",
            "  q: {phases",
            r"signals\.q\.phases\.one: link a ends at y, not at q; a signal bears the name of",
        ),
        ("two: [c]", "two: [b]", r"signals\.y\.phases\.two: link b ends at w, not at y"),
        ("two: [c]", "two: [c, c]", r"signals\.y\.phases\.two: c stands there twice"),
        (
            "one: [a], two: [c]",
            "one: [a, c], two: [c, a]",
            r"phases\.one: all its links have green in two too, so nobody",
        ),
        (
            "one: [a]",
            "one: [a, c]",
            r"signals\.y\.phases\.two: all its links have green in one too, so nobody ever needs it",
        ),
        ("one: [a], two: [c]", "one: [a], two: [{a: 1}]", r"signals\.y\.phases\.two=\{'a': '1'\}: must be a name"),
        ("}}\ndemand", "}, uncontrolled: [c]}\ndemand", r"signals\.y\.uncontrolled: c stands in a phase too"),
        ("}}\ndemand", "}, uncontrolled: [b]}\ndemand", r"signals\.y\.uncontrolled: no link b ends here"),
        ("c: {per_h: 300}", "c: {per_h: 300, swing: [400, 500]}", r"c\.per_h=300: must be within swing=\[400, 500\]"),
        (
            "c: {per_h: 300}",
            "c: {per_h: 300, swing: [500, 100]}",
            r"c\.swing=\[500, 100\]: must be \[least, greatest\]",
        ),
        ("c: {per_h: 300}", "c: {per_h: 300, phase: 90}", r"demand\.c\.phase=90: must be at most 1"),
        ("c: {per_h: 300}", "c: {per_h: .inf}", r"demand\.c\.per_h='\.inf': must be a number"),
        ("c: {per_h: 300}", "c: {per_h: 1:30}", r"demand\.c\.per_h='1:30': must be a number"),
        ("c: {per_h: 300}", "c: {swing: [1, 2]}", r"demand\.c\.per_h: missing"),
        ("a: {per_h: 300}\n  c: {per_h: 300}", "a: {per_h: 0}\n  c: {per_h: 0}", r"demand: nobody comes"),
        ("a: {from: x", "a: {lanes: 0, from: x", r"links\.a\.lanes=0: must be at least 1"),
        ("a: {from: x", "a: {lanes: 1.5, from: x", r"links\.a\.lanes=1\.5: must be whole"),
        ("a: {from: x", "a: {lanes: 33, from: x", r"links\.a\.lanes=33: must be at most 20"),
        ("length_m: 200", "length_m: 2e6", r"links\.a\.length_m=2e\+06: must be at most 100000"),
        ("links:", "name: [a]\nlinks:", r"name=\['a'\]: must be text"),
        ("links:\n", "links:\n  '': {}\n", r"links: '' is no name"),
        ("signals:\n  y: {phases: {one: [a], two: [c]}}", "signals:", r"signals: missing"),
        ("links:\n", "links: [\n", r"no readable YAML"),
        (GOOD, "", r"empty; see docs/traffic\.md"),
    ],
)
def test_a_mistake_in_a_network_is_one_line_that_names_the_place(tmp_path, old, new, message):
    path = tmp_path / "own.yaml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(UserError, match=message) as found:
        read(path)
    assert str(found.value).startswith(str(path)) and "\n" not in str(found.value)


def told(tmp_path, text, name="own.yaml"):
    """What is wrong with a file of this text, in one short line."""
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError) as found:
        read(path)
    line = str(found.value)
    assert line.startswith(f"{path}: ") and "\n" not in line and len(line) < len(str(path)) + 320
    return line.removeprefix(f"{path}: ")


def test_a_third_approach_needs_a_phase_or_word_that_it_has_none(tmp_path):
    third = GOOD.replace("  b: {", "  e: {from: v, to: y, length_m: 200, speed_kmh: 50, turns: {b: 1.0}}\n  b: {")
    third += "  e: {per_h: 900}\n"
    expected = (
        "signals.y: link e ends here and stands in no phase, so it would always be open; add it to a phase, or say"
    )
    assert told(tmp_path, third).startswith(expected)
    assert told(tmp_path, third.replace("from: v, to: y,", "from: v,")).startswith(expected)  # it turns into b there
    meant = tmp_path / "meant.yaml"
    meant.write_text(third.replace("two: [c]}}", "two: [c]}, uncontrolled: [e]}"))
    network = read(meant)
    assert network.signal_of("e") is None and network.signals["y"].uncontrolled == ("e",)
    arrays = build(network, Sizes.of([network], 15.0), CAR_ONLY, 15.0)
    assert arrays.unsignalled.tolist() == [float(name in ("e", "b")) for name in network.links]


@pytest.mark.parametrize("ring", ["{d: 1.0}", "{d: 0.5, f: 0.5}"])
def test_a_ring_without_a_way_out_is_named(tmp_path, ring):
    text = GOOD.replace("speed_kmh: 50}\nsignals", f"speed_kmh: 50, turns: {ring}}}\nsignals").replace(
        "signals:",
        "  d: {from: w, to: v, length_m: 300, speed_kmh: 50, turns: {g: 1.0}}\n"
        + ("  f: {from: w, to: v, length_m: 300, speed_kmh: 50, turns: {g: 1.0}}\n" if "f" in ring else "")
        + "  g: {from: v, to: y, length_m: 300, speed_kmh: 50, turns: {b: 1.0}}\nsignals:",
    )
    line = told(tmp_path, text)
    named = "b, d, f, g" if "f" in ring else "b, d, g"
    assert line.startswith(
        f"links.a: no way out of the network from here, turns lead only to {named}; one of them needs"
    )


def test_a_ring_that_nobody_comes_to_is_named(tmp_path):
    ring = """  d: {from: p, to: q, length_m: 300, speed_kmh: 50, turns: {e: 1.0}}
  e: {from: q, to: p, length_m: 300, speed_kmh: 50, turns: {d: 1.0}}
signals:"""
    line = told(tmp_path, GOOD.replace("signals:", ring))
    assert line == "links.d: no vehicle ever comes here; it needs demand or a turn to it"


@pytest.mark.parametrize(
    ("one", "other"), [("10", "1_0"), ("8", "010"), ("on", "yes"), ("1e3", "1000"), ("1.0", "1.00"), ("0x10", "16")]
)
def test_names_are_read_as_they_are_written(tmp_path, one, other):
    """YAML takes each pair for one number, or one truth."""
    path = tmp_path / "own.yaml"
    path.write_text(
        f"""
nodes: {{{one}: [0, 0], 2024-01-01: [1, 0], ~: [2, 0], {other}: [1, 1]}}
links:
  {one}: {{from: {one}, to: 2024-01-01, length_m: 2_00, speed_kmh: 5e1, turns: {{no: 1.0}}}}
  {other}: {{from: {other}, to: 2024-01-01, length_m: 0200, speed_kmh: "50", turns: {{no: 1.0}}}}
  no: {{from: 2024-01-01, to: ~, length_m: 200.0, speed_kmh: 50}}
signals:
  2024-01-01: {{phases: {{{one}: [{one}], {other}: [{other}]}}}}
demand:
  {one}: {{per_h: 300}}
  {other}: {{per_h: 200}}
"""
    )
    network = read(path)
    assert list(network.links) == [one, other, "no"] and network.signals["2024-01-01"].phases == {
        one: (one,), other: (other,),
    }  # fmt: skip
    assert {name: demand.per_h for name, demand in network.demand.items()} == {one: 300.0, other: 200.0}
    assert {link.length_m for link in network.links.values()} == {200.0} and network.links["no"].end == "~"
    assert {round(3.6 * link.speed_m_per_s, 6) for link in network.links.values()} == {50.0}


def test_anchors_and_merges_of_yaml_keep_their_meaning(tmp_path):
    path = tmp_path / "own.yaml"
    text = GOOD.replace("a: {from: x, to: y, length_m: 200,", "a: {from: x, <<: &street {to: y, length_m: 70},")
    path.write_text(text.replace("c: {from: z, to: y, length_m: 200,", "c: {from: z, <<: *street, length_m: 90,"))
    links = read(path).links
    assert (links["a"].length_m, links["c"].length_m, links["c"].end) == (70.0, 90.0, "y")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("town.net.xml", "<net/>", "a SUMO network"),
        ("town.net.xml.gz", "packed", "a SUMO network"),
        ("town.yaml", f"<?xml?>\n<net>{'<edge/>' * 9999}</net>", "a SUMO network"),
        ("town.osm", "<osm></osm>", "an XML file"),
    ],
)  # fmt: skip
def test_a_network_of_another_program_is_told_in_a_short_line(tmp_path, name, text, message):
    assert told(tmp_path, text, name) == f"{message}; vmax reads its own YAML (docs/traffic.md)"


LONG = "long " * 9999


@pytest.mark.parametrize(
    "text",
    [
        LONG, f"- {LONG}", f"{{{LONG}: 1}}", f"links: {LONG}", f"name: [{LONG}]\n{GOOD}", GOOD.replace("200", LONG),
        GOOD.replace("b: {from", f"{LONG}: {{from"), GOOD.replace("one: [a]", f"one: [{LONG}]"),
        GOOD.replace("a: {per", f"{LONG}: {{per"), f"{GOOD}  {LONG}: {{per_h: 3}}", f"a: &a [*a]\n{GOOD}",
        f"? [{LONG}]\n: 1", f"a: !!{LONG.split()[0] * 999} 1", "[" * 5000,
    ],
)  # fmt: skip
def test_no_message_quotes_a_whole_file(tmp_path, text):
    told(tmp_path, text)


T_JUNCTION = """
links:                       # three arms; the side street is short and slow; the left turn has a green of its own
  through: {from: east, to: t, length_m: 90, lanes: 2, speed_kmh: 50, turns: {to_west: 1.0}}
  left: {from: east, to: t, length_m: 90, speed_kmh: 50, turns: {to_side: 1.0}}
  back: {from: west, to: t, length_m: 90, lanes: 2, speed_kmh: 50, turns: {to_east: 0.85, to_side: 0.15}}
  side: {from: lane, to: t, length_m: 60, speed_kmh: 30, turns: {to_east: 0.5, to_west: 0.5}}
  to_west: {from: t, to: west, length_m: 90, lanes: 2, speed_kmh: 50}
  to_east: {from: t, to: east, length_m: 90, lanes: 2, speed_kmh: 50}
  to_side: {from: t, to: lane, length_m: 60, speed_kmh: 30}
signals:
  t: {phases: {main: [through, back], left: [through, left], side: [side]}}
demand: {through: {per_h: 550}, left: {per_h: 130}, back: {per_h: 700}, side: {per_h: 240}}
"""
ARM = """
  {arm}_on: {{from: {arm}, to: t, length_m: 140, speed_kmh: 50.04, turns: {{to_{on}: 0.6, to_{right}: 0.4}}}}
  {arm}_left: {{from: {arm}, to: t, length_m: 140, speed_kmh: 50.04, turns: {{to_{left}: 1.0}}}}
  to_{arm}: {{from: t, to: {arm}, length_m: 140, lanes: 2, speed_kmh: 50.04}}"""
FOUR_WAY = f"""
links:                       # straight on or right from one lane, left from another
{"".join(ARM.format(arm=a, on=on, right=right, left=left) for a, on, right, left in ("nswe", "snew", "ewns", "wesn"))}
signals:
  t: {{phases: {{ns: [n_on, s_on], ns_left: [n_left, s_left], ew: [e_on, w_on], ew_left: [e_left, w_left]}}}}
demand: {{
{", ".join(f"{a}_on: {{per_h: 430, swing: [150, 700]}}, {a}_left: {{per_h: 170, swing: [50, 300]}}" for a in "nsew")}
}}
"""
TWO_BY_TWO = """
links:                       # one-way streets; nobody turns, demand does not swing
  a0: {from: w1, to: k11, length_m: 140, speed_kmh: 50, turns: {a1: 1.0}}
  a1: {from: k11, to: k12, length_m: 140, speed_kmh: 50, turns: {a2: 1.0}}
  a2: {from: k12, to: e1, length_m: 140, speed_kmh: 50}
  b0: {from: w2, to: k21, length_m: 140, speed_kmh: 50, turns: {b1: 1.0}}
  b1: {from: k21, to: k22, length_m: 140, speed_kmh: 50, turns: {b2: 1.0}}
  b2: {from: k22, to: e2, length_m: 140, speed_kmh: 50}
  c0: {from: n1, to: k11, length_m: 140, speed_kmh: 50, turns: {c1: 1.0}}
  c1: {from: k11, to: k21, length_m: 140, speed_kmh: 50, turns: {c2: 1.0}}
  c2: {from: k21, to: s1, length_m: 140, speed_kmh: 50}
  d0: {from: n2, to: k12, length_m: 140, speed_kmh: 50, turns: {d1: 1.0}}
  d1: {from: k12, to: k22, length_m: 140, speed_kmh: 50, turns: {d2: 1.0}}
  d2: {from: k22, to: s2, length_m: 140, speed_kmh: 50}
signals:
  k11: {phases: {east: [a0], south: [c0]}}
  k12: {phases: {east: [a1], south: [d0]}}
  k21: {phases: {east: [b0], south: [c1]}}
  k22: {phases: {east: [b1], south: [d1]}}
demand: {a0: {per_h: 360}, b0: {per_h: 360}, c0: {per_h: 360}, d0: {per_h: 360}}
"""


@pytest.mark.parametrize(
    ("text", "signals", "phases"), [(T_JUNCTION, 1, 3), (FOUR_WAY, 1, 4), (TWO_BY_TWO, 4, 2)],
    ids=["t-junction", "four-way", "two-by-two"],
)  # fmt: skip
def test_sound_networks_are_read_and_become_environments(tmp_path, capsys, text, signals, phases):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    space = vmax.make_env("traffic_signal", [f"env.network={path}"]).action_space
    assert (space.count, space.size) == (signals, phases) and capsys.readouterr().err == ""


def test_shipped_networks_are_sound():
    for name in ("simple", "corridor", "lagos"):
        assert read(find(name)).name == name and Path(find(name)).is_file()
