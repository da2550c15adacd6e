import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infogail.envs.errors import BadInput
from infogail.parallel.workers import WorkerLost, report, workers


def square(x):
    report(x)
    return x * x, os.getpid()


def fail_or_wait(seconds):
    if seconds == 0:
        raise ValueError("of one worker")
    time.sleep(seconds)


def killed(_):
    os.kill(os.getpid(), signal.SIGKILL)


def work_with_clutter(folder):
    """Keep a file as long as it works, which is for long."""
    clutter = Path(folder) / str(os.getpid())
    clutter.write_text("half-written")
    try:
        time.sleep(100)
    finally:
        clutter.unlink()


def test_results_come_in_order_from_other_processes_and_reports_arrive():
    reported = []
    with workers(2, reported.append) as mapped:
        results = list(mapped(square, range(6)))
    assert [result for result, _ in results] == [0, 1, 4, 9, 16, 25]
    assert os.getpid() not in {process for _, process in results}
    assert sorted(reported) == list(range(6))


def test_reports_of_no_worker_go_nowhere():
    assert square(3) == (9, os.getpid())


def test_a_failure_ends_the_others_at_once():
    start = time.monotonic()
    with pytest.raises(ValueError, match="of one worker"), workers(2) as mapped:
        list(mapped(fail_or_wait, (100, 0, 100)))
    assert time.monotonic() - start < 30


def test_a_killed_worker_is_one_clear_error():
    problem = "a worker process was killed from outside; is there enough memory"
    with pytest.raises(WorkerLost, match=problem) as raised, workers(1) as mapped:
        list(mapped(killed, (0,)))
    assert isinstance(raised.value, BadInput)  # which the command line prints alone


@pytest.mark.parametrize("end", ["ctrl-c", "interrupt", "kill"])
def test_no_worker_outlives_its_parent(tmp_path, end):
    """Ctrl-C reaches all processes of a terminal, an interrupt the first one only, and SIGKILL cannot be handled."""
    here = Path(__file__)
    script = (
        f"import sys; sys.path.insert(0, {str(here.parent)!r})\n"
        f"from {here.stem} import work_with_clutter, workers\n"
        "if __name__ == '__main__':\n"
        f"    with workers(2) as mapped: list(mapped(work_with_clutter, [{str(tmp_path)!r}] * 4))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True, stderr=subprocess.PIPE)
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    at_work = [int(path.name) for path in tmp_path.iterdir()]
    if end == "ctrl-c":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT if end == "interrupt" else signal.SIGKILL)
    _, errors = process.communicate(timeout=30)
    wait_until(lambda: not any(map(runs, at_work)))
    assert not list(tmp_path.iterdir())
    assert errors.count(b"Traceback") == (0 if end == "kill" else 1)  # the parent's own


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def runs(process):
    """Whether `process` is there, and more than an entry in the table."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
