import cv2
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from infogail.rendering.palette import colour
from infogail.rendering.video import FPS, write_gif, write_mp4


def test_the_mp4_is_h264_that_browsers_play(tmp_path):
    frames = [np.full((64, 96, 3), (0, 12 * k, 0), np.uint8) for k in range(20)]
    write_mp4(tmp_path / "a.mp4", frames)
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "a.mp4"))
    meta, decoded = next(reader), [np.frombuffer(data, np.uint8).reshape(64, 96, 3) for data in reader]
    assert meta["codec"] == "h264" and meta["pix_fmt"].startswith("yuv420p") and meta["fps"] == FPS
    assert len(decoded) == 20
    np.testing.assert_allclose([frame.mean((0, 1)) for frame in decoded], [frame[0, 0] for frame in frames], atol=6)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # the index first: plays while it loads


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_film_leaves_the_old_one(tmp_path, error):
    def frames():
        yield np.zeros((64, 64, 3), np.uint8)
        raise error

    (tmp_path / "a.mp4").write_bytes(b"old")
    with pytest.raises(error):
        write_mp4(tmp_path / "a.mp4", frames())
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_an_encoder_that_fails_leaves_nothing(tmp_path, monkeypatch):
    encoder = tmp_path / "encoder"  # takes all frames, writes something, and then fails
    encoder.write_text('#!/bin/sh\nfor last; do :; done\ncat > "$last"\nexit 3\n')
    encoder.chmod(0o755)
    monkeypatch.setattr("moviepy.video.io.ffmpeg_writer.FFMPEG_BINARY", str(encoder))
    with pytest.raises(OSError, match=r"a\.mp4: ffmpeg stopped with status 3"):
        write_mp4(tmp_path / "videos/a.mp4", [np.zeros((64, 64, 3), np.uint8)] * 3)
    assert list(tmp_path.rglob("*")) == [encoder]


def test_the_gif_keeps_the_colours_of_codes(tmp_path):
    frame = np.zeros((60, 80, 3), np.uint8)
    for code in range(4):
        cv2.rectangle(frame, (20 * code, 0), (20 * code + 19, 59), colour(code), cv2.FILLED)
    write_gif(tmp_path / "a.gif", [frame, frame[:, ::-1]])
    gif = Image.open(tmp_path / "a.gif")
    for k, expected in enumerate((frame, frame[:, ::-1])):
        gif.seek(k)
        np.testing.assert_allclose(np.asarray(gif.convert("RGB")), expected, atol=2)
