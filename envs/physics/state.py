"""Arrays of vehicle states, by name."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = Any
"""numpy.ndarray or torch.Tensor."""
Scene = dict[str, Array]
"""The quantities drawn at reset, by name, each (...)."""


class VehicleState(NamedTuple):
    """One vehicle's state, each field (...): a view on the last axis of a state array (..., 4)."""

    x: Array  # [m]
    y: Array  # [m], to the right of x as highway-env draws it
    heading: Array  # [rad]
    speed: Array  # [m/s]

    @classmethod
    def of(cls, states: Array, vehicle: int) -> VehicleState:
        """Vehicle number `vehicle` of `states` (..., V, 4)."""
        return cls(*(states[..., vehicle, k] for k in range(4)))


def as_float64(array: Array) -> np.ndarray:
    """A NumPy float64 copy of anything array-like."""
    return np.array(array, dtype=np.float64)
