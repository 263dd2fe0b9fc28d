"""What several tests need."""

from pathlib import Path

import pytest

from symgnn.data import Store, make_motion


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data; tests that need it are skipped where it is absent."""
    path = Path(__file__).parents[1].parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"needs the data in {path}, which is absent")
    return path


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory):
    """Converted data goes to a folder of this test run (processes that a test starts inherit it)."""
    path = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYMGNN_CACHE", str(path))
        yield path


@pytest.fixture(scope="session")
def motion(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A small set of the built-in motion: 8 people, two of them for testing, do each of the 8 movements once."""
    return make_motion(
        tmp_path_factory.mktemp("motion") / "store", clips_per_class=8, persons=8, test_persons=2, seconds=(5.0, 6.0)
    )
