"""Start distributions, and the streams of random numbers that scenes are drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from array_api_compat import array_namespace

from infogail.envs.physics.state import Array, Scene

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Draw:
    """The distribution of one scene quantity: uniform between two ends, or either end with equal probability."""

    low: float
    high: float
    only_ends: bool = False
    size: int = 0
    """Entries of a vector quantity (size, ...); 0: a scalar (...)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the quantity in one scene."""
        return (self.size,) if self.size else ()


def num_rows(draws: dict[str, Draw]) -> int:
    """Number of random numbers in a scene."""
    return sum(draw.size or 1 for draw in draws.values())


def scene_from_uniform(draws: dict[str, Draw], uniform: Array) -> Array:
    """Scenes (k, ...) in the order of `draws`, from independent uniform numbers in [0, 1) of that shape."""
    blocks = [
        draw.low + (draw.high - draw.low) * (block.round() if draw.only_ends else block)
        for draw, block in zip(draws.values(), _blocks(draws, uniform), strict=True)
    ]
    return array_namespace(uniform).concat(blocks)


def named(draws: dict[str, Draw], rows: Array) -> Scene:
    """The scene by name, from its numbers (k, ...) in the order of `draws`."""
    blocks = zip(draws.items(), _blocks(draws, rows), strict=True)
    return {name: block if draw.size else block[0] for (name, draw), block in blocks}


def _blocks(draws: dict[str, Draw], rows: Array) -> list[Array]:
    ends = list(accumulate((draw.size or 1 for draw in draws.values()), initial=0))
    return [rows[first:last] for first, last in pairwise(ends)]


GOLDEN_RATIO = 0x9E3779B97F4A7C15  # 2⁶⁴ / φ, the increment of SplitMix64


def uniform(streams: Tensor, number: Tensor, dtype: torch.dtype) -> Tensor:
    """Random numbers in [0, 1), of 24 bits each, at positions `number` (..., B) int64 of the random `streams` (B,).

    SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators") needs no stored state.
    """
    bits = splitmix64(streams + (number + 1) * _signed(GOLDEN_RATIO))
    return (bits >> 40 & 2**24 - 1).to(dtype) * 2.0**-24


def random_streams(seed: int, count: int) -> Tensor:
    """Starting points, (count,) int64, of the streams of the first `count` environments."""
    import torch

    start = splitmix64(torch.tensor(_signed(seed % 2**64)))
    return splitmix64(start + torch.arange(1, count + 1) * _signed(GOLDEN_RATIO))


def splitmix64(bits: Tensor) -> Tensor:
    """SplitMix64's output function, on int64 values that represent uint64."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits = (bits ^ (bits >> shift & 2 ** (64 - shift) - 1)) * _signed(factor)
    return bits ^ (bits >> 31 & 2**33 - 1)


def _signed(number: int) -> int:
    """The int64 with the same bits as the uint64 `number`."""
    return number - 2**64 if number >= 2**63 else number
