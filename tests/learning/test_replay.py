import torch

from infogail.learning.memory import RolloutMemory
from infogail.learning.rollout import Rollout, join


def rollout_of(number):
    """Two steps in three environments, all of it marked with `number`."""
    whole = torch.full((2, 3), float(number))
    never, codes = torch.zeros(2, 3, dtype=torch.bool), torch.arange(3) + number
    state = whole[..., None].expand(2, 3, 4).clone()
    return Rollout(
        state, state[..., :2], whole, state + 0.5, never, never, codes.expand(2, 3), torch.full((3,), number)
    )


def marks(rollout):
    return rollout.observations[0, :, 0].tolist()


def test_join_is_side_by_side():
    one = join([rollout_of(1), rollout_of(5)])
    assert one.observations.shape == (2, 6, 4) and one.done.shape == (2, 6)
    assert marks(one) == [1, 1, 1, 5, 5, 5] and one.codes.tolist() == [[1, 2, 3, 5, 6, 7]] * 2
    assert one.styles.tolist() == [1, 1, 1, 5, 5, 5] and one.next_observations[1, 4, 0] == 5.5
    assert one.pairs().shape == (2, 6, 6)


def test_it_keeps_the_last_iterations():
    replay = RolloutMemory(2)
    seen = [marks(replay.add(rollout_of(number)))[::3] for number in range(1, 6)]
    assert seen == [[1], [1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]]


def test_none_is_the_newest_alone():
    replay = RolloutMemory(0)
    for number in (1, 2):
        rollout = rollout_of(number)
        assert replay.add(rollout) is rollout
    assert replay.state_dict() == {}


def test_it_goes_on_where_it_was():
    one, other = RolloutMemory(4), RolloutMemory(4)
    for number in range(1, 4):
        one.add(rollout_of(number))
    other.add(rollout_of(9))
    other.load_state_dict({key: tensor.clone() for key, tensor in one.state_dict().items()})
    expected, found = (replay.add(rollout_of(4)) for replay in (one, other))
    assert marks(found)[::3] == [1, 2, 3, 4]  # and not what it remembered before
    for name, tensor in expected.tensors().items():
        assert torch.equal(tensor, found.tensors()[name]) and tensor.dtype == found.tensors()[name].dtype
