"""Minari data sets, read as episodes and written from them, through Minari's own complete episode buffers."""

from __future__ import annotations

import shutil
import warnings
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate

from infogail.envs.catalogue import is_environment
from infogail.envs.data.episodes import Episodes, problem_of
from infogail.envs.data.recording import MAX_SOURCE
from infogail.envs.errors import BadInput, one_line
from infogail.envs.interface import Interface
from infogail.envs.tasks import GymTask

PREFIX, STYLE = "minari:", "style"


def load_minari(name: str, environment: str | None = None) -> Episodes:
    """All episodes of the Minari data set `name`, downloaded if it is not there; styles from `infos["style"]`.

    Args:
        environment: the environment's id, for a data set that does not name it.

    Raises:
        BadInput: Minari or the data set is missing, or it does not fit the environment.
    """
    minari, place = _minari(), PREFIX + name
    try:
        data = minari.load_dataset(name)
    except FileNotFoundError:
        try:
            data = minari.load_dataset(name, download=True)
        except Exception as error:  # of the network, or of Minari's server
            what = f"is not here, and could not be downloaded ({one_line(error)})"
            raise BadInput(f"{place}: {what}; see 'minari list local' and 'minari list remote'") from error
    except (ValueError, OSError, KeyError) as error:
        raise BadInput(f"{place}: {one_line(error)}; give a data set that this version of Minari reads") from error
    interface = GymTask(_environment(data, place, environment)).interface
    for kind in ("observation_space", "action_space"):
        theirs, ours = getattr(data, kind), getattr(interface, kind)
        if theirs != ours:
            what = f"its {kind.replace('_', ' ')} is {theirs}, that of {interface.name} is {ours}"
            raise BadInput(f"{place}: {what}; give a data set of the same environment")
    arrays = _arrays(list(data.iterate_episodes()), interface, place)
    kept = data.storage.get_episode_metadata(data.episode_indices)
    arrays["seeds"] = np.array([-1 if one.get("seed") is None else one["seed"] for one in kept])
    if problem := problem_of(arrays, interface):
        raise BadInput(f"{place}: {problem}; mend the data set or leave such episodes out")
    return Episodes(interface, **arrays, source=f"{PREFIX}{name}"[:MAX_SOURCE])


def save_minari(episodes: Episodes, name: str) -> None:
    """Write `episodes` as the Minari data set `name`, with `infos["style"]` where a style is known.

    Raises:
        BadInput: Minari is missing, the name is not valid, or such a data set exists.
    """
    minari, interface, buffers = _minari(), episodes.interface, []
    from minari.data_collector.episode_buffer import EpisodeBuffer
    from minari.storage.datasets_root_dir import get_dataset_path

    if (folder := get_dataset_path(name)).exists():
        raise BadInput(f"{PREFIX}{name}: exists; give another name, or delete it with 'minari delete {name}'")
    spec = gymnasium.spec(interface.name)
    try:
        spec.to_json()
    except ValueError as error:
        raise BadInput(f"{interface.name}: {one_line(error)} register it with entry_point='module:Class'") from error
    for e in range(episodes.num_episodes):
        one = episodes.episodes(slice(e, e + 1))
        steps = len(one.rewards)
        ends = np.zeros((2, steps), bool)  # terminations and truncations
        ends[0 if one.terminated[0] else 1, -1] = True
        observations = [interface.unflatten(row) for row in one.observations]
        stacked: Any = create_empty_array(interface.observation_space, steps + 1)
        style = int(one.styles[0])
        buffers.append(
            EpisodeBuffer(
                id=e,
                seed=None if one.seeds[0] < 0 else int(one.seeds[0]),
                observations=concatenate(interface.observation_space, observations, stacked),
                actions=one.actions,
                rewards=one.rewards.tolist(),
                terminations=ends[0].tolist(),
                truncations=ends[1].tolist(),
                infos=None if style < 0 else {STYLE: np.full(steps + 1, style)},
            )
        )
    spaces = {"observation_space": interface.observation_space, "action_space": interface.action_space}
    written = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about an author, an e-mail address and a link, which we do not know
            # Minari would compress images with loss.
            minari.create_dataset_from_buffers(name, buffers, env=spec, jpeg_encoding=False, **spaces)
        written = True
    except ValueError as error:
        raise BadInput(f"{PREFIX}{name}: {one_line(error)}; give a name such as cartpole/two-styles-v0") from error
    finally:
        if not written:
            shutil.rmtree(folder, ignore_errors=True)


def _arrays(data: list[Any], interface: Interface, place: str) -> dict[str, np.ndarray]:
    """The arrays of `Episodes` from Minari's `EpisodeData`."""
    observations = []
    for episode in data:
        batch: Any = batch_space(interface.observation_space, len(episode) + 1)
        observations += [interface.flatten(one) for one in iterate(batch, episode.observations)]
    return {
        "observations": np.stack(observations),
        "actions": np.concatenate([episode.actions for episode in data]).astype(interface.action_space.dtype),
        "episode_bounds": np.cumsum([0, *(len(episode) for episode in data)]),
        "rewards": np.concatenate([episode.rewards for episode in data]).astype(np.float64),
        "terminated": np.array([bool(episode.terminations[-1]) for episode in data]),
        "styles": np.array([_style(episode, place) for episode in data]),
    }


def _style(episode: Any, place: str) -> int:
    """The style in its infos, -1 if there is none."""
    styles = np.unique((episode.infos or {}).get(STYLE, [-1]))
    if len(styles) != 1 or styles[0] != int(styles[0]):
        raise BadInput(f"{place}: episode {episode.id} has infos['{STYLE}'] {styles}; give one whole number an episode")
    return int(styles[0])


def _environment(data: Any, place: str, given: str | None) -> str:
    """The id of the data set's environment."""
    if data.env_spec is None:
        if given is None:
            remedy = "give --environment, such as CartPole-v1"
            raise BadInput(f"{place}: does not name its environment (it has no env_spec); {remedy}")
        return given
    named: str = data.env_spec.id
    if given not in (None, named):
        raise BadInput(f"{place}: is of {named}, not {given}; leave --environment out")
    if not is_environment(named):  # with a `module:`, which Gymnasium would import
        raise BadInput(f"{place}: names the environment '{named}'; import its module yourself with --import")
    return named


def _minari() -> Any:
    try:
        import minari
    except ImportError as error:
        raise BadInput(f"Minari is not installed ({error}); run: pip install 'infogail[minari]'") from error
    return minari
