import numpy as np

from infogail.forecast import speed


def test_a_fit_is_timed_on_areas_of_growing_size(monkeypatch):
    monkeypatch.setattr(speed, "PEOPLE", 60)
    monkeypatch.setattr(speed, "SCALES", (0.1, 0.2))
    small, large = speed.measure(0).values()
    assert small["paths"] == large["paths"] == 48  # a fifth is held out
    assert small["horizon"] < large["horizon"]
    assert 0 < small["peak MB"] <= large["peak MB"]
    assert all(row["seconds"] > 0 for row in (small, large))


def test_made_up_people_cross_the_area_by_a_passage():
    paths = speed.crossings(200, 0)
    first, last = (paths.points[paths.bounds[k:][: len(paths)] - k] for k in (0, 1))
    assert set(np.abs(last - first)[:, 0]) == {48.0}  # either way
    middle = [np.interp(0.5, np.linspace(0, 1, len(p)), p[:, 1]) for p in map(paths.path, range(len(paths)))]
    assert all(min(abs(y - passage) for passage in (4.0, 10.0, 17.0, 23.0)) < 2.5 for y in middle)
