"""Runs the commands of all pages in the order of the navigation, in one folder: ``make test-docs``."""

from pathlib import Path

from blocks import DOCS, here, in_navigation, make_clone, pages, run_script, script_of_all

QUICK = DOCS / "quick-start.md"


def test_the_pages_run_in_the_order_of_the_navigation_in_one_folder(tmp_path: Path) -> None:
    """A reader goes from page to page: what one left behind must not be in the way of the next."""
    order = [page for page in in_navigation() if here(page)]
    assert order[0] == QUICK
    assert set(order) == {page for page in pages() if here(page) and page.is_relative_to(DOCS)}
    make_clone(tmp_path)
    done = run_script(script_of_all(order, tmp_path, ".", "out/start"), tmp_path, 600)
    assert done.returncode == 0, done.stdout
