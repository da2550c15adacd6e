"""How drivers that learned from recorded people are judged: each kind of recorded world has its own way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infogail.envs.data.world import FollowedLeaders, RecordedWorld, World
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
    is_of_followers: bool = False
    """Whether `judge` can judge by the people of another file, and elsewhere; see `following.judge_following`."""


JUDGES: Mapping[type[World], PeopleJudge] = {
    RecordedWorld: PeopleJudge(people.judge_replay, people.judge_peers, people.PEERS),
    FollowedLeaders: PeopleJudge(following.judge_following, following.judge_peers, following.PEERS, True),
}
PEERS = {key: name for judge in JUDGES.values() for key, name in judge.peers.items()}
