"""Let a virtual environment see the packages of another one behind its own: ``link.py ENVIRONMENT OTHER``."""

import sys
import sysconfig
from pathlib import Path


def main() -> int:
    """Write the .pth file that does it."""
    environment, other = (Path(argument).resolve() for argument in sys.argv[1:3])
    packages = Path(sysconfig.get_path("purelib", vars={"base": "."})).relative_to(".")
    line = f"import site; site.addsitedir({str(other / packages)!r})\n"
    (environment / packages / "zz_project.pth").write_text(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
