import pytest
import torch

from infogail.config.parts import RunConfig
from infogail.learning.schedule import Schedule


def recognised(percent):
    return torch.arange(100) < percent


def schedule(settling=6):
    return Schedule(RunConfig(iterations=30, settling_iterations=settling), num_codes=2)


def progress(some, *iterations):
    return [some.progress(iteration) for iteration in iterations]


def test_training_settles_once_the_styles_are_found():
    some = schedule()
    some.observe(4, recognised(97))
    assert (some.found, some.iterations) == (None, 30)
    assert progress(some, 0, 6, 15, 30, 99) == pytest.approx([0.0, 0.2, 0.5, 1.0, 1.0])
    some.observe(6, recognised(98))
    some.observe(9, recognised(100))  # finds them no more
    assert (some.found, some.iterations) == (6, 18)
    # As before until then, 6 of 30; from there on the rest in 12 iterations.
    assert progress(some, 0, 3, 6, 9, 12, 18, 99) == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.6, 1.0, 1.0])


def test_styles_found_late_do_not_prolong_training():
    in_time, late = schedule(), schedule()
    in_time.observe(17, recognised(100))
    late.observe(21, recognised(100))
    assert (in_time.iterations, late.iterations) == (29, 30)
    assert progress(late, 21, 24, 30) == pytest.approx([0.7, 0.8, 1.0])


def test_without_settling_all_iterations_are_run():
    some = schedule(settling=None)
    some.observe(3, recognised(100))
    assert some.iterations == 30 and progress(some, 3, 15) == pytest.approx([0.1, 0.5])


def test_a_fixed_schedule_has_its_length_and_at_least_one_iteration():
    some = Schedule.fixed(8)
    some.observe(0, recognised(100))
    assert some.iterations == 8 and progress(some, 0, 2, 8) == [0.0, 0.25, 1.0]
    assert Schedule.fixed(0).iterations == 1


@pytest.mark.parametrize("length", [3, 50])
def test_a_length_overrules_the_end_but_not_the_learning_rate(length):
    some = schedule()
    some.length = length
    some.observe(6, recognised(100))
    assert some.iterations == length and progress(some, 12, 18, 40) == pytest.approx([0.6, 1.0, 1.0])


@pytest.mark.parametrize("found", [None, 0, 5])
def test_when_the_styles_were_found_comes_back(found):
    one, other = schedule(), schedule()
    if found is not None:
        one.observe(found, recognised(100))
    other.observe(2, recognised(100))
    other.load_state_dict(one.state_dict())
    assert other.found == one.found == found and other.iterations == {None: 30, 0: 12, 5: 17}[found]
