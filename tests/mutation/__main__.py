"""mutmut's command line for this layout: ``python -m tests.mutation run [PATTERN ...]``.

mutmut imports its copy of the sources from ``mutants/``. The finder of the editable install would be asked
first and give the sources themselves, so it goes last, where it still finds the kernel. A mutant has the name
of its file; that of a package in ``tools`` begins without the folder, as it is imported.

A mutant that never ends is told by the processor time it takes (``timeout_multiplier`` in pyproject.toml). By
the clock, which mutmut heeds too, every mutant is one while the machine has better things to do.
"""

import sys
from pathlib import Path

PACKAGES = Path("mutants/tools").absolute()
PACKAGES.mkdir(parents=True, exist_ok=True)  # the finder looks once whether there is such a folder
sys.path.insert(0, str(PACKAGES))
sys.meta_path.sort(key=lambda finder: finder.__class__.__module__.startswith("_editable"))

from mutmut.__main__ import cli  # noqa: E402 - it reads its configuration when it is imported
from mutmut.utils import format_utils  # noqa: E402
from mutmut.workers import isolation, timeout  # noqa: E402

IDLE = 3600.0
"""What does nothing for so many seconds hangs."""


def _imported(module: str, *, prefix: str) -> str:
    return module.removeprefix("tools.").removeprefix(prefix)


if __name__ == "__main__":
    format_utils.strip_prefix = _imported
    isolation.register_timeout = lambda pid, timeout_s: timeout.register_timeout(pid, timeout_s + IDLE)
    cli()
