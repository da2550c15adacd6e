import pytest
from replay_world import record_world


@pytest.fixture(scope="session")
def people_file(tmp_path_factory):
    """Where `people` is."""
    return tmp_path_factory.mktemp("world") / "demonstrations.safetensors"


@pytest.fixture(scope="session")
def people(people_file):
    """Recorded traffic of steady cars; windows 8 to 15 are held out."""
    return record_world(people_file)
