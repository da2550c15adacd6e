"""The device that training runs on, and the one place where training waits for it."""

from __future__ import annotations

import torch
from torch import Tensor

from infogail.envs.errors import BadInput

Log = dict[str, Tensor | float]
"""What an iteration logs, by name; numbers from a device are tensors ()."""


def check_device(name: str) -> None:
    """Raise BadInput if this machine cannot train on the device `name`, see `RunConfig.device`."""
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise BadInput(f"--device {name}: give cpu, cuda, or cuda:N for GPU number N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        built = "" if torch.backends.cuda.is_built() else ", and this torch is built without CUDA"
        raise BadInput(f"--device {name}: torch finds {torch.cuda.device_count()} GPUs{built}; give --device cpu")


def read(*values: Tensor | float) -> list[float]:
    """The numbers in `values`, tensors () or floats, copied from the device at once.

    This waits until the device has computed them, so an iteration calls it as rarely as it can: for the log, and for
    what decides how training goes on.
    """
    tensors = [value.detach().double() for value in values if isinstance(value, Tensor)]
    numbers = iter(torch.stack(tensors).tolist() if tensors else ())
    return [next(numbers) if isinstance(value, Tensor) else value for value in values]


def read_log(log: Log) -> dict[str, float]:
    """`log` with its tensors () as floats, by one `read`."""
    return dict(zip(log, read(*log.values()), strict=True))
