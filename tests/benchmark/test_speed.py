import pytest

from infogail.benchmark import speed
from infogail.envs.errors import BadInput
from infogail.envs.stepping import missing_compiler


@pytest.mark.slow
def test_the_twin_is_measured_on_a_device(monkeypatch):
    if missing := missing_compiler():
        pytest.skip(f"no {missing}")
    monkeypatch.setattr(speed, "SECONDS", 0.01)
    monkeypatch.setattr(speed, "ROUNDS", 1)
    rates = speed.measure_device("cpu", 0, (64,))
    assert set(rates) == {"pass", "turn"} and all(rate["64 environments"] > 1000 for rate in rates.values())


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(BadInput, match="--device cuda:99"):
        speed.measure_device("cuda:99", 0, (64,))
