"""mutmut's command line for this layout: ``python -m tests.mutation run [PATTERN ...]``.

mutmut imports its copy of the sources from ``mutants/``. The finder of the editable install would be asked
first and give the sources themselves, so it goes last, where it still finds the kernel.
"""

import sys

sys.meta_path.sort(key=lambda finder: finder.__class__.__module__.startswith("_editable"))

from mutmut.__main__ import cli  # noqa: E402 - it reads its configuration when it is imported

if __name__ == "__main__":
    cli()
