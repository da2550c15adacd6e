"""Atomic, durable file writes, and tensor files whose checksum reveals any changed byte.

A file is written beside its destination, synced to disk, and renamed: at any moment, even after a crash, readers find
the old file or the new one, never a partial one. Tensors go into safetensors files (nothing is ever unpickled), sealed
by a hash.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from infogail.envs.errors import BadInput

VERSIONED = ("torch", "highway-env", "gymnasium", "numpy")  # what results depend on
MAX_FILE = 2**30  # [bytes] of a file of tensors; a million decisions take a tenth of it
MAX_HEADER = 2**20  # [bytes] of its description
NOTE = "infogail"  # the only key in safetensors' own metadata: with several, their order would be random


def versions() -> dict[str, str]:
    """Versions of the packages that results depend on, by name."""
    return {name: version(name) for name in VERSIONED}


class UnreadableFile(ValueError):
    """A tensor file cannot be trusted; the message says what is wrong with it."""


class NonEmptyFolder(BadInput):
    """The output path is taken, and replacing what is there was not requested."""


def check_output(path: Path, force: bool) -> None:
    """Refuse to write the file `path` if that would replace something.

    Raises:
        NonEmptyFolder: it exists, and `force` is false; or it is a folder; or one of its parents is a file.
    """
    check_folder(path.parent)
    if path.is_dir():
        raise NonEmptyFolder(f"{path}: is a folder; give the name of a file in it")
    if path.exists() and not force:
        raise NonEmptyFolder(f"{path}: already exists; replace it with --force, or write elsewhere")


def check_folder(path: Path) -> None:
    """Refuse to create the folder `path` if it, or one of its parents, is a file."""
    for part in (path, *path.parents):
        if part.is_file():
            raise NonEmptyFolder(f"{part}: is a file, not a folder; write elsewhere")


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to the file `path` atomically and durably.

    Raises:
        OSError: it cannot be written; an existing file is left unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Sync the folder's directory entries to disk."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def seal(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file of `arrays` and `metadata`, with a hash over both; same content, same bytes."""
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    return save(arrays, {NOTE: json.dumps({**metadata, "sha256": _hash(arrays, metadata)}, sort_keys=True)})


def unseal(path: Path, schema: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of the file at `path`, sealed with `metadata["schema"] == schema`.

    Raises:
        UnreadableFile: it is a link that leads out of its folder, is too large, is not a safetensors file, has another
            schema, or differs in any byte from what was written. Sizes are checked before anything is read.
    """
    with _opened(path) as (file, metadata):
        _check_schema(metadata.get("schema"), schema)
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    if metadata.pop("sha256", None) != _hash(arrays, metadata):
        raise UnreadableFile("its content does not match its sha256: it was damaged or changed")
    return arrays, metadata


def described(path: Path) -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
    """Metadata, and shapes by name, of the file at `path`, without reading or verifying its arrays.

    Raises:
        UnreadableFile: it is not a safetensors file; see `unseal`.
    """
    with _opened(path) as (file, metadata):
        return metadata, {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, str]]]:
    """The open file and its metadata."""
    if path.is_symlink() and path.resolve().parent != path.parent.resolve():
        raise UnreadableFile("is a link that leads out of its folder; copy the file there")
    size = path.stat().st_size
    if size > MAX_FILE:
        raise UnreadableFile(f"holds {size:,} bytes, more than {MAX_FILE:,}")
    with path.open("rb") as raw:
        header = int.from_bytes(raw.read(8), "little")
    if header > min(size, MAX_HEADER):
        raise UnreadableFile(f"not a readable safetensors file (a header of {header:,} bytes)")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get(NOTE, "{}"))
            if not isinstance(metadata, dict):
                raise TypeError("metadata is not an object")
            yield file, metadata
    except UnreadableFile:
        raise
    except (SafetensorError, ValueError, TypeError, AttributeError, RecursionError) as error:
        # Besides SafetensorError: raised for dtypes that NumPy lacks, and for metadata that is not valid JSON.
        raise UnreadableFile(f"not a readable safetensors file ({' '.join(str(error).split())})") from error


def _check_schema(found: object, expected: str) -> None:
    def number(schema: str) -> int:
        return int(re.sub(r".*-", "", schema))

    if found == expected:
        return
    name = expected.rpartition("-")[0]
    if isinstance(found, str) and re.fullmatch(rf"{name}-[0-9]{{1,9}}", found) and number(found) > number(expected):
        raise UnreadableFile(f"schema is {found!r}, newer than {expected!r}: update infogail")
    raise UnreadableFile(f"schema is {found!r}, not {expected!r}")


def _hash(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    """SHA-256 over names, dtypes, shapes, bytes and metadata, in an order independent of the file's."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape} ".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()
