"""Write docs/images from real runs: ``make screenshots``.

Runs the demo like ``make demo``, and ``edge-hub watch`` in parallel, both with colours as in a terminal.
rich draws their output as SVG: the end of the demo, and the last table of the fleet in which a device is
offline. The report is that of a conversion, rendered by a browser without network access.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from tests.support import chromium

ROOT = Path(__file__).parents[3]
IMAGES = ROOT / "docs" / "images"
PROGRAMS = Path(sys.executable).parent
WATCHED = "pi-cellar"
PATIENCE_S = 120.0
MAX_BYTES = 400_000
# The drawing must not fetch a font from anywhere.
SVG = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
# What a live table sends before it is drawn again: the cursor goes up and lines are cleared.
REDRAW = re.compile(r"(?:\r|\x1b\[\?25[hl]|\x1b\[\d*[A-GJK])+")
BROWSER = ("chromium", "--headless", "--hide-scrollbars", *chromium.ARGUMENTS)


def terminal(columns: int) -> dict[str, str]:
    """Return the environment of a program that shall print as in a terminal so wide."""
    return os.environ | {"FORCE_COLOR": "1", "COLUMNS": str(columns), "TERM": "xterm-256color"}


def draw(printed: str, name: str, title: str, columns: int) -> None:
    """Draw what a program printed, escape sequences and all."""
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=columns, file=nowhere)
        console.print(Text.from_ansi(printed.strip("\n")))
        svg = console.export_svg(title=title, theme=MONOKAI, code_format=SVG, unique_id=Path(name).stem)
    (IMAGES / name).write_text(re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE), encoding="utf-8")


def broker_port(config: Path, demo: subprocess.Popen[str]) -> int:
    """Return the port in a device's configuration as soon as the demo has written it."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and demo.poll() is None:
        if config.exists() and (text := config.read_text()):
            return int(tomllib.loads(text)["broker"]["port"])
        time.sleep(0.1)
    raise TimeoutError(f"{config}: the demo did not write it")


def last_frame_with(word: str, printed: str) -> str:
    """Return the last table with ``word`` in it that a live program drew."""
    return [frame for frame in REDRAW.split(printed) if word in frame][-1]


def run_demo(folder: Path) -> None:
    """Run the demo and the hub beside it; draw both."""
    command: list[str | Path] = [sys.executable, ROOT / "examples/office/demo.py", "--directory", folder]
    demo = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=terminal(92))
    port = broker_port(folder / f"{WATCHED}.toml", demo)
    watch: list[str | Path] = [PROGRAMS / "edge-hub", "watch", "--broker", f"127.0.0.1:{port}", "--for", "15"]
    seen = subprocess.run(watch, stdout=subprocess.PIPE, text=True, check=True, env=terminal(138))
    printed, _ = demo.communicate(timeout=PATIENCE_S)
    if demo.returncode:
        raise RuntimeError(f"the demo failed:\n{printed}")
    draw(last_frame_with("offline", seen.stdout), "watch.svg", "edge-hub watch", 138)
    end = REDRAW.split(printed)[-1]
    draw(end[end.rfind("\n", 0, end.index("The office's week")) + 1 :], "demo.svg", "make demo", 92)


def photograph(page: Path, name: str, width: int, height: int) -> None:
    """Write what a browser shows of a page."""
    with tempfile.TemporaryDirectory() as profile:
        options = [f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        command = [*BROWSER, *options, f"--screenshot={IMAGES / name}", page.resolve().as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)


def main() -> int:
    """Make all images."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "demo"
        run_demo(folder)
        (folder / "office.eab").unlink()
        report = folder / "report.html"
        for words in (
            ("keygen", "fleet-key"),
            ("convert", "office.npz", "-o", "office.eab", "--sign", "fleet-key", "--report", report),
        ):
            subprocess.run([PROGRAMS / "edge-convert", *words], cwd=folder, check=True, capture_output=True)
        photograph(report, "report.png", 1000, 1310)
    for path in sorted(IMAGES.iterdir()):
        size = path.stat().st_size
        print(f"{path.relative_to(ROOT)}: {size:,} bytes")
        if size > MAX_BYTES:
            raise RuntimeError(f"{path}: found {size:,} bytes, expected at most {MAX_BYTES:,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
