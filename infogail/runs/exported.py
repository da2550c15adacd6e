"""A driver as `infogail export` leaves it: ONNX models with a description, run by ONNX Runtime without torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from infogail.envs.errors import BadInput, one_line
from infogail.envs.files import versions
from infogail.runs.driver import About, Driver, FastPolicy, as_mix, as_names
from infogail.runs.folder import EXPORTED, MAX_MANIFEST, InvalidRun, digest_of

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

FORMAT = "infogail-export-1"
POLICY, POSTERIOR = "driver.onnx", "posterior.onnx"
MAX_MODEL = 2**28  # [bytes]


class ExportedDriver(Driver):
    """The driver of an exported folder."""

    def __init__(
        self, about: About, prior: np.ndarray | None, policy: InferenceSession, evidence: InferenceSession | None
    ) -> None:
        super().__init__(about, prior)
        self.policy, self.evidence = policy, evidence

    def _act(self, obs: np.ndarray, codes: np.ndarray) -> np.ndarray:
        each = np.broadcast_to(codes, obs.shape[:-1])
        feed = {"observation": obs.reshape(-1, obs.shape[-1]), "code": each.reshape(-1)}
        (actions,) = self.policy.run(None, feed)
        return actions.reshape(*obs.shape[:-1], actions.shape[-1])

    def fast_policy(self) -> FastPolicy:
        """ONNX Runtime is fast as it is."""
        values = np.array(self.codes)
        return lambda observations, codes: self.act(observations, values[codes])

    def log_posterior(self, observations: np.ndarray, actions: np.ndarray) -> np.ndarray | None:
        """See `Driver`."""
        if self.evidence is None:
            return None
        feed = {"observation": np.asarray(observations, np.float32), "action": np.asarray(actions, np.float32)}
        return self.evidence.run(None, feed)[0]


def describe(about: About, prior: np.ndarray | None, sizes: tuple[int, int], files: dict[str, bytes]) -> bytes:
    """The content of `EXPORTED`, for `load_exported`.

    Args:
        sizes: numbers of entries of an observation and of an action.
        files: the models, by name.
    """
    content = {"format": FORMAT} | asdict(about) | {"prior": None if prior is None else prior.tolist()}
    content |= {"observation_size": sizes[0], "action_size": sizes[1], "versions": versions()}
    content |= {"files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}}
    return (json.dumps(content | {"sha256": digest_of(content)}, indent=2) + "\n").encode()


def load_exported(folder: Path) -> ExportedDriver:
    """Load the driver from a folder that `infogail export` wrote.

    Raises:
        InvalidRun: a file is missing, damaged, or not of an exported driver.
        BadInput: ONNX Runtime is not installed.
    """
    path = folder / EXPORTED
    try:
        content = _read(path)
        about, prior, sizes, files = _parsed(content)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else one_line(error)
        raise InvalidRun(f"{path}: not from 'infogail export' of this version ({reason}); export again") from error
    observations, actions = ("observation", sizes[0]), ("action", sizes[1])
    inputs, code = [observations, ("code", None)], "float" if about.graded else "int64"
    policy = _session(folder, POLICY, files, inputs, actions, code)
    if POSTERIOR not in files:
        return ExportedDriver(about, prior, policy, None)
    output = ("log_posterior", len(about.codes))
    return ExportedDriver(about, prior, policy, _session(folder, POSTERIOR, files, [observations, actions], output))


def _read(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_MANIFEST:
        raise ValueError(f"is larger than {MAX_MANIFEST:,} bytes")
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT}")
    if content.pop("sha256") != digest_of(content):
        raise ValueError("it does not match its own sha256: it was damaged or changed")
    return content


def _parsed(content: dict[str, Any]) -> tuple[About, np.ndarray | None, tuple[int, int], dict[str, str]]:
    """Its parts; what has its own sha256 was written by `describe`, so only what other versions might change counts."""
    names = as_names(content["names"], len(content["codes"]))
    if names is None:
        raise ValueError("'names' are not one for each code")
    mix = as_mix(content.get("mix"), len(content["codes"]))  # older exports lack it
    fields = {name: content[name] for name in About.__dataclass_fields__ if name != "mix"}
    about = About(**fields | {"codes": tuple(content["codes"]), "names": names, "mix": mix})
    prior = None if content["prior"] is None else np.array(content["prior"], np.float32)
    return about, prior, (content["observation_size"], content["action_size"]), dict(content["files"])


def _session(
    folder: Path,
    name: str,
    files: dict[str, str],
    inputs: list[tuple[str, int | None]],
    output: tuple[str, int],
    code: str = "float",
) -> InferenceSession:
    """The model in the file `name`, if it is the one that was exported, with these inputs and output (B, size).

    Args:
        inputs: names and sizes; None for one number, of the type `code`.
    """
    path = folder / name
    try:
        import onnxruntime
    except ImportError as error:
        remedy = "run: pip install 'infogail[onnx]'"
        raise BadInput(f"{folder}: an exported driver needs ONNX Runtime ({one_line(error)}); {remedy}") from error
    try:
        if path.stat().st_size > MAX_MODEL:
            raise ValueError(f"is larger than {MAX_MODEL:,} bytes")
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != files.get(name):
            raise ValueError(f"its sha256 is not the one in {EXPORTED}: it was damaged or changed")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3  # as the networks are small; errors only
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        wanted = [(each, f"tensor({code if size is None else 'float'})", size) for each, size in inputs]
        if (found := _signature(session.get_inputs())) != wanted:
            raise ValueError(f"takes {_shown(found)}, not {_shown(wanted)}")
        wanted = [(output[0], "tensor(float)", output[1])]
        if (found := _signature(session.get_outputs())) != wanted:
            raise ValueError(f"gives {_shown(found)}, not {_shown(wanted)}")
    except OSError as error:
        raise InvalidRun(f"{path}: {error.strerror}; export the run again") from error
    except Exception as error:  # also of onnxruntime's own classes, which are not public
        raise InvalidRun(f"{path}: {one_line(error)}; export the run again") from error
    return session


def _signature(nodes: list[Any]) -> list[tuple[str, str, int | str | None]]:
    """Name, type, and size of each; None for one number per row."""
    return [(node.name, node.type, node.shape[1] if len(node.shape) == 2 else None) for node in nodes]


def _shown(signature: list[Any]) -> str:
    return ", ".join(f"{name} {kind}" + ("" if size is None else f" of {size}") for name, kind, size in signature)
