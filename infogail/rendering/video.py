"""Write frames as H.264 that browsers can play, and as a small looping GIF."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from moviepy.video.io.ffmpeg_writer import FFMPEG_VideoWriter
from PIL import Image

from infogail.envs.files import write_atomically
from infogail.envs.scenarios.scenario import SIMULATION_FREQUENCY

FPS = SIMULATION_FREQUENCY  # [Hz]; one frame per physics step, for real time; replays have their own rate
GIF_WIDTH, GIF_COLOURS, GIF_EVERY = 640, 64, 2  # [px] at most; shared by all frames; film frames per GIF frame


def write_film(
    mp4: Path,
    gif: Path,
    frames: Iterable[np.ndarray],
    progress: Callable[[str], None] = lambda message: None,
    fps: int = FPS,
) -> None:
    """Write `frames` (H, W, 3) uint8, even sizes, at `fps` [Hz], as a film and as a smaller animation."""
    thumbnails: list[np.ndarray] = []

    def shrunk() -> Iterator[np.ndarray]:
        for k, frame in enumerate(frames):
            if k % GIF_EVERY == 0:
                width = min(GIF_WIDTH, frame.shape[1])
                height = round(frame.shape[0] * width / frame.shape[1])
                thumbnails.append(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA))
            if k % fps == 0:
                progress(f"filming {mp4}: {k // fps} s")
            yield frame

    write_mp4(mp4, shrunk(), fps)
    progress(f"writing {gif}")
    write_gif(gif, thumbnails, fps)


def write_mp4(path: Path, frames: Iterable[np.ndarray], fps: int = FPS) -> None:
    """Encode `frames` (H, W, 3) uint8, even sizes, as H.264 that browsers can play while loading.

    Raises:
        OSError: the encoder failed; nothing is written.
    """
    frames = iter(frames)
    first = next(frames)
    with TemporaryDirectory() as folder:
        film = Path(folder) / path.name
        writer = FFMPEG_VideoWriter(
            str(film),
            first.shape[1::-1],
            fps,
            codec="libx264",
            preset="fast",
            threads=1,
            ffmpeg_params=["-crf", "21", "-movflags", "+faststart"],
        )
        encoder = writer.proc
        with writer:
            for frame in chain((first,), frames):
                writer.write_frame(frame)
        if encoder.returncode:
            raise OSError(f"{path}: ffmpeg stopped with status {encoder.returncode}")
        write_atomically(path, film.read_bytes())


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write `picture` (H, W, 3) uint8."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


def write_gif(path: Path, frames: Sequence[np.ndarray], fps: int = FPS) -> None:
    """Write `frames` (H, W, 3) uint8 as a looping animation, with one palette for all frames to avoid flicker."""
    sample = np.vstack(frames[:: max(1, len(frames) // 8)])
    palette = Image.fromarray(sample).quantize(GIF_COLOURS, method=Image.Quantize.MEDIANCUT)
    images = [Image.fromarray(f).quantize(palette=palette, dither=Image.Dither.NONE) for f in frames]
    buffer = io.BytesIO()
    images[0].save(
        buffer, "GIF", save_all=True, append_images=images[1:], duration=round(1000 * GIF_EVERY / fps, -1), loop=0
    )
    write_atomically(path, buffer.getvalue())
