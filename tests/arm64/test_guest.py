"""cpio can read the archive that contains a test's files for the guest."""

import subprocess
from pathlib import Path

import guest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

NAMES = st.from_regex(r"(/[a-z]{1,8}){1,4}\.[a-z]", fullmatch=True)


@settings(max_examples=20)
@drawn(
    st.dictionaries(
        NAMES, st.tuples(st.binary(max_size=9), st.sampled_from([0o644, 0o755, 0o600])), max_size=5
    )
)
def test_cpio_reads_what_was_written(tmp_path_factory, contents: dict[str, tuple[bytes, int]]) -> None:
    files = {name: guest.File(data, mode) for name, (data, mode) in contents.items()}
    folder: Path = tmp_path_factory.mktemp("unpacked")
    command = ["cpio", "--extract", "--quiet", "--no-absolute-filenames"]
    subprocess.run(command, input=guest.archive(files), cwd=folder, check=True)
    unpacked = {"/" + str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert unpacked == set(files)
    for name, file in files.items():
        path = folder / name[1:]
        assert path.read_bytes() == file.data
        assert path.stat().st_mode & 0o777 == file.mode


def test_verdicts_are_found_among_other_output() -> None:
    console = ["[    3.1] booting", 'login: EDGE-CHECK {"check": "life.killed", "holds": true}', "EDGE-"]
    assert guest.verdicts(console) == {"life.killed": {"check": "life.killed", "holds": True}}
