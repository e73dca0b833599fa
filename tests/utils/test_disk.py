"""Full disks, read-only folders and locks, said to people."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mmseg_domino.utils import atomic_write
from mmseg_domino.utils.disk import DiskFullError, FolderNotWritableError, explain_disk
from mmseg_domino.utils.journal import Journal
from mmseg_domino.utils.locks import FolderInUseError, folder_lock


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_names_folder_space_and_remedy(code, tmp_path):
    words = rf"{tmp_path} ran full \(\d+\.\d GiB free on the disk\).*Make room.*same command"
    with (
        pytest.raises(DiskFullError, match=words) as error,
        atomic_write(tmp_path / "x" / "a"),
        explain_disk(tmp_path),
    ):
        raise OSError(code, os.strerror(code))
    assert error.value.errno == code
    assert not any((tmp_path / "x").iterdir())


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_folder_that_cannot_be_written_to_is_named(code, tmp_path):
    file = str(tmp_path / "a" / "b.json")
    words = rf"{tmp_path}/a cannot be written to .*free on the disk.*Give another folder"
    with pytest.raises(FolderNotWritableError, match=words), explain_disk(tmp_path / "a"):
        raise OSError(code, os.strerror(code), file)


def test_other_errors_and_other_folders_pass_unchanged(tmp_path):
    for error in (
        OSError(errno.EIO, "Input/output error"),
        PermissionError(errno.EACCES, "Permission denied", "/somewhere/else"),
        FileNotFoundError(errno.ENOENT, "No such file", str(tmp_path / "a")),
    ):
        with pytest.raises(OSError, match=re.escape(str(error))) as caught, explain_disk(tmp_path):
            raise error
        assert caught.value is error


def test_journals_and_files_below_a_file_are_explained(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), atomic_write(tmp_path / "file" / "a.json"):
        pass

    class Full:
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    journal = Journal(tmp_path / "journal", "part", {})
    journal.close()
    journal._file = Full()
    with pytest.raises(DiskFullError, match=f"{tmp_path}/journal ran full"):
        journal.append({"group": "a/b", "image": "c"})


HOLD = """
import sys
from mmseg_domino.utils.locks import folder_lock
with folder_lock(sys.argv[1], "train", "training"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_refuses_the_second_and_ends_with_its_process(tmp_path):
    folder = tmp_path / "new"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert process.stdout.readline() == b"held\n"
    words = rf"{folder} is in use: training by process {process.pid} on .*Wait for it or end it"
    with pytest.raises(FolderInUseError, match=words), folder_lock(folder, "train", "training"):
        pass
    with folder_lock(folder, "test", "test"):  # another lock of the same folder
        pass
    process.kill()
    with folder_lock(folder, "train", "training", wait=20):
        pass
    process.wait()
    with folder_lock(folder, "train", "training"):
        pass
