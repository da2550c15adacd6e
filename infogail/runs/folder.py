"""The run folder: the results of training, listed in a manifest, with one writer at a time."""

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

from infogail.config.config import Config
from infogail.envs.catalogue import SCENARIO_NAMES, is_environment
from infogail.envs.errors import BadInput
from infogail.envs.files import NonEmptyFolder, UnreadableFile, check_folder, sync_folder, versions, write_atomically

MANIFEST, FORMAT = "manifest.json", 2
EXPORTED = "config.json"  # describes an exported driver
MAX_MANIFEST = 2**20  # [bytes]
DEMONSTRATIONS = "demonstrations.safetensors"
MIX = "mix.json"  # how common the driver's codes are, as fitted to people


class InvalidRun(BadInput):
    """A run folder is missing, incomplete or malformed; the message names the file, the problem and the remedy."""


def _instruction_set() -> str:
    import torch

    return torch.backends.cpu.get_cpu_capability()


@dataclass(frozen=True)
class Manifest:
    """The description of a run, and the SHA-256 of each file it needs."""

    scenario: str
    algorithm: str
    config: Config
    versions: Mapping[str, str] = field(default_factory=versions)
    instruction_set: str = field(default_factory=_instruction_set)
    files: Mapping[str, str] = field(default_factory=dict)
    processes: int = 1
    scheduled_iterations: int | None = None
    """The iterations of the learning rate schedule, if `config.run.iterations` was changed later."""

    def encode(self) -> bytes:
        """As JSON."""
        content = {"format": FORMAT} | asdict(self)
        content |= {"config_sha256": digest_of(content["config"]), "threads": self.config.run.threads}
        return (json.dumps(content | {"sha256": digest_of(content)}, indent=2) + "\n").encode()

    @classmethod
    def load(cls, run: Path) -> Manifest:
        """Load the manifest of the run folder `run`.

        Raises:
            InvalidRun: it is missing, or was not written by `encode`.
        """
        path = run / MANIFEST
        if not path.is_file() and (run / EXPORTED).is_file():
            raise InvalidRun(f"{run}: holds an exported driver; give the folder of the run that it was exported from")
        if not path.is_file():
            raise InvalidRun(f"{path}: no such file; make a run with 'infogail train SCENARIO --out {quote(str(run))}'")
        try:
            if path.stat().st_size > MAX_MANIFEST:
                raise ValueError(f"is larger than {MAX_MANIFEST:,} bytes")
            content = json.loads(path.read_bytes())
            if not isinstance(content, dict):
                raise ValueError("is not a JSON object")
            version = content.pop("format", None)
            if isinstance(version, int) and version > FORMAT:
                raise InvalidRun(f"{path}: format is {version}, newer than {FORMAT}; update infogail")
            if version != FORMAT or isinstance(version, bool):
                raise ValueError(f"format is {version!r}, not {FORMAT}")
            if content.pop("sha256") != digest_of({"format": version} | content):
                raise ValueError("it does not match its own sha256: it was damaged or changed")
            del content["config_sha256"], content["threads"]  # redundant, for other readers
            manifest = cls(**content | {"config": Config.from_dict(content["config"])})
            manifest._check()
        except InvalidRun:
            raise
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            reason = f"lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
            raise InvalidRun(f"{path}: not a manifest of this version ({reason}); train the run again") from error
        return manifest

    def _check(self) -> None:
        name = self.scenario
        if name not in SCENARIO_NAMES and not (isinstance(name, str) and (":" in name or is_environment(name))):
            raise ValueError(f"scenario is {self.scenario!r}, not one of {', '.join(SCENARIO_NAMES)}")
        for name in ("algorithm", "instruction_set"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} is {getattr(self, name)!r}, not a string")
        if type(self.processes) is not int or self.processes < 1:
            raise ValueError(f"processes is {self.processes!r}, not a positive integer")
        scheduled = self.scheduled_iterations
        if scheduled is not None and (type(scheduled) is not int or scheduled < 1):
            raise ValueError(f"scheduled_iterations is {scheduled!r}, not a positive integer")
        for name in ("versions", "files"):
            entries = getattr(self, name)
            if not isinstance(entries, dict) or not all(isinstance(value, str) for value in entries.values()):
                raise ValueError(f"{name} is {entries!r}, not an object of strings")
        for name in self.files:
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"'{name}' leaves the folder")


class RunFolder:
    """A run folder to which only this process may write."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest

    @classmethod
    @contextmanager
    def create(cls, path: Path, manifest: Manifest, demonstrations: bytes, force: bool) -> Iterator[RunFolder]:
        """Create a run at `path` atomically; with `force`, replace an existing run.

        Raises:
            NonEmptyFolder: see `check_run`.
            InvalidRun: another process is training there.
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
        """Open the run at `path`, to resume it.

        Raises:
            InvalidRun: `path` is not a run, or another process is training there.
        """
        _tidy(path.resolve())
        Manifest.load(path)
        path = path.resolve()
        with _locked(path):
            for leftover in path.rglob(".*.partial"):  # from a process that was killed while writing
                leftover.unlink()
            yield cls(path, Manifest.load(path))

    def write(self, name: str, data: bytes, outdated: Sequence[str] = ()) -> None:
        """Write the file `name` and add it to the manifest; remove the `outdated` files from the manifest."""
        write_atomically(self.path / name, data)
        files = {key: value for key, value in self.manifest.files.items() if key not in outdated}
        files[name] = hashlib.sha256(data).hexdigest()
        self.describe(replace(self.manifest, files=files))

    def describe(self, manifest: Manifest) -> None:
        """Replace the manifest with `manifest`."""
        self.manifest = manifest
        write_atomically(self.path / MANIFEST, manifest.encode())

    def verify(self, name: str) -> None:
        """See `verify`."""
        verify(self.path, self.manifest, name)


def put_run(path: Path, files: Mapping[str, bytes]) -> None:
    """Atomically install a run that was made elsewhere at `path`, replacing an existing run.

    Args:
        files: file contents, by name within the run folder.

    Raises:
        NonEmptyFolder: `path` contains something other than a run.
        InvalidRun: another process is training there.
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
    """Check the content of the file `name` of a run against the manifest.

    Raises:
        UnreadableFile: the file is missing, was changed, or is a link that leaves the folder.
    """
    path = run / name
    if not path.is_file() or name not in manifest.files:
        raise UnreadableFile("no such file")
    if not path.resolve().is_relative_to(run.resolve()):
        raise UnreadableFile("is a link that leaves the run")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != manifest.files[name]:
        raise UnreadableFile(f"its sha256 is not the one in {MANIFEST}: it was damaged or changed")


def check_run(path: Path, force: bool) -> None:
    """Check that the run folder `path` can be created. Nothing but a run is ever overwritten.

    Raises:
        NonEmptyFolder: `path` is a run and `force` is false; or it is a file, or a folder that contains anything else.
        InvalidRun: TensorBoard could not write there.
    """
    check_folder(path)
    if any("\ud800" <= character <= "\udfff" for character in str(path.resolve())):  # PEP 383
        problem = "contains bytes that are not text in this locale"
        raise InvalidRun(f"{path}: {problem}; set PYTHONUTF8=1, or write elsewhere")
    if path.is_dir() and any(path.iterdir()):
        if not (path / MANIFEST).is_file():
            raise NonEmptyFolder(f"{path}: contains something other than a run; write elsewhere")
        if not force:
            resume = f"resume it with --resume {quote(str(path))}"
            raise NonEmptyFolder(f"{path}: already exists; {resume}, replace it with --force, or write elsewhere")


@contextmanager
def _appearing(path: Path, fill: Callable[[Path], None]) -> Iterator[None]:
    """Atomically replace the run at `path` with a folder filled by `fill`, or leave it unchanged; hold its lock."""
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
    """Hold the run's lock, which the operating system releases when the process ends."""
    with (path / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidRun(f"{path}: another process is training here; wait for it, or write elsewhere") from None
        yield


def being_written(path: Path) -> bool:
    """Whether a process is training in the run at `path`."""
    try:
        with _locked(path):
            return False
    except InvalidRun:
        return True


def _tidy(path: Path) -> None:
    """Clean up beside `path` after a process that was killed while creating the run."""
    for suffix in ("old", "partial"):
        for leftover in map(Path, glob.glob(f"{glob.escape(str(path.parent))}/.{glob.escape(path.name)}.*.{suffix}")):
            if suffix == "old" and not path.exists():
                leftover.rename(path)
                continue
            with suppress(InvalidRun), _locked(leftover):
                shutil.rmtree(leftover, ignore_errors=True)


def digest_of(content: Any) -> str:
    """SHA-256 of what JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
