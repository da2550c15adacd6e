import pytest
from one_process import in_this_process


@pytest.fixture(scope="module")
def one_process():
    """Cells are made here; `test_demo` and the cluster's tests have processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("infogail.benchmark.cells.workers", in_this_process)
        yield
