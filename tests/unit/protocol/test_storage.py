import errno
import http.server
import os
import threading
from pathlib import Path

import pytest

from edge_agent.adapters.bundle_folder import BundleFolder
from edge_agent.adapters.state_file import StateFile
from edge_agent.errors import PlatformError
from edge_agent.wire import blocks

FILE = bytes(range(256)) * 10
CUT = blocks.cut("0" * 64, "m", FILE, block=1000)


def test_blocks_are_found_again_after_a_power_cut(tmp_path: Path) -> None:
    store = BundleFolder(tmp_path)
    assert store.had(CUT) == set()
    store.write(CUT, 2, FILE[2000:])
    store.write(CUT, 0, FILE[:1000])
    part = next(tmp_path.glob("*.part"))
    assert part.stat().st_size == len(FILE)
    assert BundleFolder(tmp_path).had(CUT) == {0, 2}
    store.write(CUT, 1, FILE[1000:2000])
    assert store.finish(CUT.digest).read_bytes() == FILE
    assert store.had(CUT) == {0, 1, 2}
    assert store.finish(CUT.digest) == store.path(CUT.digest)
    store.drop(CUT.digest)
    assert list(tmp_path.iterdir()) == []


def test_a_download_keeps_only_what_was_signed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    results: list[tuple[str, str]] = []
    for content, expected in ((FILE, ""), (FILE[:1000] + b"evil" * 500, "block 1 is not")):
        source.write_bytes(content)
        folder = tmp_path / str(len(results))
        folder.mkdir()
        cut = blocks.cut("0" * 64, "m", FILE, source.as_uri(), block=1000)
        BundleFolder(folder).download(cut, lambda *result: results.append(result)).join()
        assert expected in results[-1][1]
        assert bool(results[-1][1]) == bool(expected)
    assert BundleFolder(tmp_path / "0").had(CUT) == {0, 1, 2}
    assert BundleFolder(tmp_path / "1").had(CUT) == {0}


class Ranges(http.server.BaseHTTPRequestHandler):
    """Serves one file, from where it is asked to; never more than 1,500 bytes at a time."""

    content = FILE
    asked: list[str | None]

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.asked.append(wanted)
        first = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.end_headers()
        self.wfile.write(self.content[first : first + 1500])

    def log_message(self, *_: object) -> None:
        pass


def test_a_download_goes_on_where_the_last_one_was_cut(tmp_path: Path) -> None:
    asked: list[str | None] = []
    handler = type("Handler", (Ranges,), {"asked": asked})
    results: list[str] = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        cut = blocks.cut("0" * 64, "m", FILE, f"http://127.0.0.1:{server.server_port}/m", block=1000)
        for _ in range(4):
            BundleFolder(tmp_path).download(cut, lambda _, reason: results.append(reason)).join()
        server.shutdown()
        thread.join()
    assert asked == [None, "bytes=1000-", "bytes=2000-"]
    assert [bool(reason) for reason in results] == [True, True, False, False]
    assert BundleFolder(tmp_path).finish(cut.digest).read_bytes() == FILE


def test_what_can_not_be_removed_now_goes_another_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store, old = BundleFolder(tmp_path), tmp_path / f"{'ab' * 32}.eab"
    old.write_bytes(FILE)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: _refuse(errno.EROFS))
        store.keep([])
    assert "a bundle that is not needed stays: Read-only file system" in caplog.text
    store.keep([])
    assert not old.exists()


def _refuse(number: int, *_: object, **__: object) -> None:
    raise OSError(number, os.strerror(number))


def test_a_scheme_that_is_not_meant_is_refused(tmp_path: Path) -> None:
    results: list[str] = []
    cut = blocks.cut("0" * 64, "m", FILE, "ftp://x/y")
    BundleFolder(tmp_path).download(cut, lambda _, reason: results.append(reason)).join()
    assert "expected http, https or file" in results[0]


def test_state_is_the_last_that_was_written(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json")
    assert file.read() is None
    file.write({"a": 1})
    file.write({"a": 2})
    assert StateFile(tmp_path / "state.json").read() == {"a": 2}
    (tmp_path / ".state.json.new").write_bytes(b"half wri")  # the power went here
    assert file.read() == {"a": 2}


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_a_damaged_state_file_is_set_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    file = StateFile(path)
    assert file.read() is None
    assert file.damaged == 1
    assert path.with_name("state.json.damaged").read_bytes() == content


def test_a_disk_that_refuses_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="No such file"):
        StateFile(tmp_path / "none" / "state.json").write({})
