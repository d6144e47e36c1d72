"""Settings of all tests: hypothesis has no deadline, since the machine may be busy.

``HYPOTHESIS_PROFILE`` chooses another profile: ``repeatable`` draws the same examples in every run.
"""

import gc
import os
from collections.abc import Iterator

import pytest
from hypothesis import Phase, settings

settings.register_profile("project", deadline=None)
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.register_profile(
    "mutation",
    deadline=None,
    max_examples=25,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],  # that a test fails is enough, nobody reads a smaller example
    report_multiple_bugs=False,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "project"))


@pytest.fixture(autouse=True, scope="session")
def own_hub_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what the hub knows of a developer's devices out of the tests, and the other way round."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


def pytest_collection_finish() -> None:
    """Let the collector look past what was collected: with 5,000 tests in memory each turn takes 0.5 s."""
    gc.collect()
    gc.freeze()
