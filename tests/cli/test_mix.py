import pytest

from infogail.cli.checks import given_mix
from infogail.envs.errors import BadInput


def test_shares_are_given_in_turn_or_by_name():
    assert given_mix(["0.5", "0", "2"]) == [0.5, 0.0, 2.0]
    assert given_mix(["tailgater=0.5", "speeder=1"]) == {"tailgater": 0.5, "speeder": 1.0}


@pytest.mark.parametrize("words", [["0.5", "speeder=1"], ["speeder"], ["speeder="], [""]])
def test_anything_else_is_refused(words):
    with pytest.raises(BadInput, match=r"^--mix .*: give a share for each code, such as"):
        given_mix(words)
