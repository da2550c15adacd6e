"""The run folder: what training leaves behind, listed in a manifest, with one writer at a time."""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import Any

import torch

from infogail.config.config import Config
from infogail.envs.catalogue import SCENARIO_NAMES
from infogail.envs.errors import BadInput
from infogail.envs.files import NonEmptyFolder, UnreadableFile, check_folder, sync_folder, versions, write_atomically

MANIFEST, FORMAT = "manifest.json", 2
MAX_MANIFEST = 2**20  # [bytes]
DEMONSTRATIONS = "demonstrations.safetensors"


class InvalidRun(BadInput):
    """A run folder is missing, incomplete or malformed; says which file, what is wrong, what to do."""


@dataclass(frozen=True)
class Manifest:
    """What a run is, and the SHA-256 of each file that it needs."""

    scenario: str
    algorithm: str
    config: Config
    versions: Mapping[str, str] = field(default_factory=versions)
    instruction_set: str = field(default_factory=torch.backends.cpu.get_cpu_capability)
    files: Mapping[str, str] = field(default_factory=dict)
    processes: int = 1
    scheduled_iterations: int | None = None
    """Those over which the learning rate falls, where `config.run.iterations` was changed later."""

    def encode(self) -> bytes:
        """As JSON."""
        content = {"format": FORMAT} | asdict(self)
        content |= {"config_sha256": _hash(content["config"]), "threads": self.config.run.threads}
        return (json.dumps(content | {"sha256": _hash(content)}, indent=2) + "\n").encode()

    @classmethod
    def load(cls, run: Path) -> Manifest:
        """The manifest of the run folder `run`.

        Raises:
            InvalidRun: it is missing, or not what `encode` gives.
        """
        path = run / MANIFEST
        if not path.is_file():
            raise InvalidRun(f"{path}: no such file; make a run with 'infogail train SCENARIO --out {quote(str(run))}'")
        try:
            if path.stat().st_size > MAX_MANIFEST:
                raise ValueError(f"holds more than {MAX_MANIFEST:,} bytes")
            content = json.loads(path.read_bytes())
            if not isinstance(content, dict):
                raise ValueError("is not a JSON object")
            found = content.pop("format", None)
            if isinstance(found, int) and found > FORMAT:
                raise InvalidRun(f"{path}: format is {found}, newer than {FORMAT}; update infogail")
            if found != FORMAT or isinstance(found, bool):
                raise ValueError(f"format is {found!r}, not {FORMAT}")
            if content.pop("sha256") != _hash({"format": found} | content):
                raise ValueError("it does not match its own sha256: it was damaged or changed")
            del content["config_sha256"], content["threads"]  # for other readers: they follow from the config
            manifest = cls(**content | {"config": Config.from_dict(content["config"])})
            manifest._check()
        except InvalidRun:
            raise
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            reason = f"lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
            raise InvalidRun(f"{path}: not a manifest of this version ({reason}); train the run anew") from error
        return manifest

    def _check(self) -> None:
        name = self.scenario
        if name not in SCENARIO_NAMES and not (isinstance(name, str) and ":" in name):  # module:Class
            raise ValueError(f"scenario is {self.scenario!r}, none of {', '.join(SCENARIO_NAMES)}")
        for name in ("algorithm", "instruction_set"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} is {getattr(self, name)!r}, not a word")
        if type(self.processes) is not int or self.processes < 1:
            raise ValueError(f"processes is {self.processes!r}, not a number of processes")
        scheduled = self.scheduled_iterations
        if scheduled is not None and (type(scheduled) is not int or scheduled < 1):
            raise ValueError(f"scheduled_iterations is {scheduled!r}, not a number of iterations")
        for name in ("versions", "files"):
            entries = getattr(self, name)
            if not isinstance(entries, dict) or not all(isinstance(value, str) for value in entries.values()):
                raise ValueError(f"{name} is {entries!r}, not an object of words")
        for name in self.files:
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"'{name}' leaves the folder")


class RunFolder:
    """A run folder that this process alone may write to."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest

    @classmethod
    @contextmanager
    def create(cls, path: Path, manifest: Manifest, demonstrations: bytes, force: bool) -> Iterator[RunFolder]:
        """A new run at `path`, which appears there all at once; with `force` in place of the run that is there.

        Raises:
            NonEmptyFolder: see `check_run`.
            InvalidRun: another process trains there.
        """
        path = path.resolve()
        _tidy(path)
        check_run(path, force)
        folder = cls(path, manifest)

        def begin(partial: Path) -> None:
            folder.path = partial
            folder.write(DEMONSTRATIONS, demonstrations)

        with _appearing(path, begin):
            folder.path = path
            yield folder

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[RunFolder]:
        """The run at `path`, to go on with it.

        Raises:
            InvalidRun: it is none, or another process trains there.
        """
        _tidy(path.resolve())
        Manifest.load(path)
        path = path.resolve()
        with _locked(path):
            for leftover in path.rglob(".*.partial"):  # of a process that was killed while it wrote
                leftover.unlink()
            yield cls(path, Manifest.load(path))

    def write(self, name: str, data: bytes, outdated: Sequence[str] = ()) -> None:
        """Write the file `name`, list it in the manifest, and the `outdated` ones no longer."""
        write_atomically(self.path / name, data)
        files = {key: value for key, value in self.manifest.files.items() if key not in outdated}
        files[name] = hashlib.sha256(data).hexdigest()
        self.describe(replace(self.manifest, files=files))

    def describe(self, manifest: Manifest) -> None:
        """Write `manifest` in place of the one that is there."""
        self.manifest = manifest
        write_atomically(self.path / MANIFEST, manifest.encode())

    def verify(self, name: str) -> None:
        """See `verify`."""
        verify(self.path, self.manifest, name)


def put_run(path: Path, files: Mapping[str, bytes]) -> None:
    """Let the run that was made elsewhere appear at `path` all at once, in place of the run that is there.

    Args:
        files: content of each, by its name within the run folder.

    Raises:
        NonEmptyFolder: something other than a run is there.
        InvalidRun: another process trains there.
    """
    path = path.resolve()
    _tidy(path)
    check_run(path, force=True)

    def write(partial: Path) -> None:
        for name, data in files.items():
            write_atomically(partial / name, data)

    with _appearing(path, write):
        pass


def verify(run: Path, manifest: Manifest, name: str) -> None:
    """Compare the content of the file `name` of a run with the manifest.

    Raises:
        UnreadableFile: it is missing, or not the file that was written; or a link that leads out of the folder.
    """
    path = run / name
    if not path.is_file() or name not in manifest.files:
        raise UnreadableFile("no such file")
    if not path.resolve().is_relative_to(run.resolve()):
        raise UnreadableFile("is a link that leaves the run")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != manifest.files[name]:
        raise UnreadableFile(f"its sha256 is not the one in {MANIFEST}: it was damaged or changed")


def check_run(path: Path, force: bool) -> None:
    """Refuse to make the run folder `path` where something is. Nothing but a run is ever replaced.

    Raises:
        NonEmptyFolder: it is a run, and `force` is false; or it is a file, or a folder that holds anything else.
        InvalidRun: TensorBoard could not write there.
    """
    check_folder(path)
    if any("\ud800" <= character <= "\udfff" for character in str(path.resolve())):  # PEP 383
        raise InvalidRun(f"{path}: holds bytes that are no text in this locale; set PYTHONUTF8=1, or write elsewhere")
    if path.is_dir() and any(path.iterdir()):
        if not (path / MANIFEST).is_file():
            raise NonEmptyFolder(f"{path}: holds something other than a run; write elsewhere")
        if not force:
            go_on = f"go on with --resume {quote(str(path))}"
            raise NonEmptyFolder(f"{path}: is there already; {go_on}, replace it with --force, or write elsewhere")


@contextmanager
def _appearing(path: Path, fill: Callable[[Path], None]) -> Iterator[None]:
    """Let the folder that `fill` fills take the place of the run at `path`, or leave all as it is; hold its lock."""
    partial, old = (path.with_name(f".{path.name}.{os.getpid()}.{suffix}") for suffix in ("partial", "old"))
    with ExitStack() as stack:
        try:
            if (path / MANIFEST).exists():
                stack.enter_context(_locked(path))
            partial.mkdir(parents=True)
            stack.enter_context(_locked(partial))
            fill(partial)
            if path.exists():
                path.rename(old)
            partial.rename(path)
        finally:
            if old.exists() and not path.exists():
                old.rename(path)
            shutil.rmtree(old, ignore_errors=True)
            shutil.rmtree(partial, ignore_errors=True)
        sync_folder(path.parent)
        yield


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the run's lock: the system's own, which ends with the process."""
    with (path / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidRun(f"{path}: another process trains here; wait for it, or write elsewhere") from None
        yield


def _tidy(path: Path) -> None:
    """Undo what a process that was killed while it made the run at `path` left beside it."""
    for suffix in ("old", "partial"):
        for leftover in map(Path, glob.glob(f"{glob.escape(str(path.parent))}/.{glob.escape(path.name)}.*.{suffix}")):
            if suffix == "old" and not path.exists():
                leftover.rename(path)
                continue
            with suppress(InvalidRun), _locked(leftover):
                shutil.rmtree(leftover, ignore_errors=True)


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
