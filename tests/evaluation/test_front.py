"""Fronts and hypervolumes: against cases worked by hand and against counting."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vmax.evaluation.front import Front, Point, hypervolume, non_dominated

UNIT = np.array([1.0, 1.0])
POINTS = st.lists(st.tuples(*[st.integers(0, 12)] * 2), min_size=1, max_size=12)


def test_a_front_worked_by_hand():
    points = np.array([[2.0, 1.0], [1.0, 3.0], [2.0, 3.0], [4.0, 0.5], [2.0, 1.0], [3.0, 9.0]])
    assert non_dominated(points).tolist() == [True, True, False, True, False, False]
    # columns [1, 2), [2, 4), [4, 5) of heights 7, 9 and 9.5 below 10
    assert hypervolume(points, np.array([5.0, 10.0])) == (7.0 + 2 * 9.0 + 9.5) / 50.0
    assert hypervolume(np.zeros((1, 2)), UNIT) == 1.0 and hypervolume(np.array([[0.5, 1.0]]), UNIT) == 0.0


@given(POINTS, st.integers(1, 12), st.integers(1, 12))
def test_the_hypervolume_is_what_counting_cells_gives(points, width, height):
    cells = np.array(points, float)
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    dominated = ((cells[:, 0, None, None] <= x) & (cells[:, 1, None, None] <= y)).any(axis=0)
    assert np.isclose(hypervolume(cells, np.array([width, height], float)), dominated.mean())


@given(POINTS)
def test_what_is_left_out_of_a_front_is_bettered_by_it(points):
    cells = np.array(points, float)
    front = cells[non_dominated(cells)]
    assert all((front <= point).all(axis=1).any() for point in cells)
    assert len({tuple(point) for point in front}) == len(front)


def test_hypervolumes_are_told_by_kind():
    learned = [Point("trained for all", share, 1.0 + share, 2.0 - share, 0.3) for share in (0.0, 1.0)]
    points = [Point("no_control", None, 4.0, 4.0, None), *learned, Point("greedy", None, 2.0, 2.0, None)]
    front = Front(points, ("co2_kg", "cost"), "USD")
    assert front.hypervolumes() == {"trained for all": (2.0 + 2.0 * 3.0) / 16.0, "greedy": 0.25}
    assert front.described()["points"][1]["share"] == 0.0
