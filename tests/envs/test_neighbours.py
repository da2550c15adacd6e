import numpy as np

from infogail.envs.physics.neighbours import next_in_lane


def test_leader_and_follower_are_the_nearest_in_the_lane():
    # Cars 30 and 12 m ahead, 20 and 8 m behind, and another 5 m ahead in another lane; bodies of 5 m.
    ahead = np.array([[30.0, 12.0, -20.0, -8.0, 5.0]])
    slower = np.array([[1.0, 2.0, 3.0, -4.0, 5.0]])
    in_lane = np.array([[True, True, True, True, False]])
    leader, follower = next_in_lane(in_lane, ahead, slower, bodies=5.0)
    assert [x.tolist() for x in leader] == [[1.0], [7.0], [2.0]]
    assert [x.tolist() for x in follower] == [[1.0], [3.0], [4.0]]  # 4 m/s faster, so it nears


def test_nobody_is_next_beyond_the_sensors_or_in_another_lane():
    ahead, slower = np.array([[100.0, -101.0, 10.0]]), np.ones((1, 3))
    for found in next_in_lane(np.array([[True, True, False]]), ahead, slower):
        assert [x.tolist() for x in found] == [[0.0], [100.0], [0.0]]


def test_a_car_level_with_this_one_leads():
    leader, follower = next_in_lane(np.array([[True]]), np.zeros((1, 1)), np.ones((1, 1)))
    assert leader[0].tolist() == [1.0] and follower[0].tolist() == [0.0]
