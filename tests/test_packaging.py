"""What an installation holds, and that a project with packages called `envs` and `baselines` of its own can use it."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy of the sources, which building would litter."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("infogail", "envs", "baselines"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    options = ("--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(folder))
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True, timeout=300)
    (path,) = folder.glob("*.whl")
    return path


def test_a_wheel_installs_one_package(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} - {"infogail"} == {f"{'-'.join(wheel.stem.split('-')[:2])}.dist-info"}
    packed = {name for name in names if name.endswith((".py", ".j2"))}
    for folder in ("infogail", "envs", "baselines"):
        files = {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".j2")}
        inside = Path() if folder == "infogail" else Path("infogail")
        assert {str(inside / file) for file in files} <= packed


USE = """
import envs, baselines, gymnasium
assert envs.MINE and baselines.MINE
import infogail
import infogail.envs.catalogue, infogail.baselines.gail
env = gymnasium.make("infogail/Pass-v0")
env.reset(seed=0)
twins = gymnasium.make_vec("infogail/Pass-v0", 2, vectorization_mode="vector_entry_point")
print(twins.reset(seed=0)[0].shape)
"""


@pytest.mark.parametrize("installation", ["editable", "built"])
def test_a_project_may_have_envs_and_baselines_of_its_own(wheel, tmp_path, installation):
    for name in ("envs", "baselines"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("MINE = True\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if installation == "built":
        zipfile.ZipFile(wheel).extractall(tmp_path / "site")
        environment["PYTHONPATH"] = str(tmp_path / "site")
    (tmp_path / "use.py").write_text(USE)
    for command, expected in ((["use.py"], "(2, 7)"), (["-m", "infogail", "--help"], "train")):
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0 and expected in done.stdout, done.stderr


def test_importing_from_elsewhere_shows_no_other_package(tmp_path):
    """An editable installation puts neither envs/ nor baselines/ nor tests/ beside infogail."""
    script = "import importlib.util as u; print([n for n in ('envs', 'baselines', 'tests') if u.find_spec(n)])"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]", done.stderr
