"""How drivers that learned from recorded people are judged: each kind of recorded world has its own way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infogail.envs.data.world import FollowedLeaders, RecordedWorld, World
from infogail.envs.scenarios.scenario import Scenario
from infogail.evaluation import following, people


@dataclass(frozen=True)
class PeopleJudge:
    """Judges drivers by people."""

    judge: Callable[..., dict[str, Any]]
    """As `people.judge_replay`."""
    judge_peers: Callable[..., dict[str, dict[str, Any]]]
    """As `people.judge_peers`."""
    peers: Mapping[str, str]
    """Names of the peers in tables, by key."""
    tables: Mapping[str, Mapping[str, str]]
    """As `people.TABLES`."""
    is_of_followers: bool = False
    """Whether `judge` can judge by the people of another file, and elsewhere; see `following.judge_following`."""


JUDGES: Mapping[type[World], PeopleJudge] = {
    RecordedWorld: PeopleJudge(people.judge_replay, people.judge_peers, people.PEERS, people.TABLES),
    FollowedLeaders: PeopleJudge(
        following.judge_following, following.judge_peers, following.PEERS, following.TABLES, True
    ),
}


def judge_of(scenario: Scenario) -> PeopleJudge:
    """The judge of drivers in a scenario of recorded people."""
    assert scenario.world_type is not None
    return JUDGES[scenario.world_type]


PEERS = {key: name for judge in JUDGES.values() for key, name in judge.peers.items()}
