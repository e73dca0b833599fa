"""The journal of a test: what is counted, image by image, so that a killed test goes on."""

import os
from collections.abc import Mapping
from typing import Any

from mmengine.dist import barrier, get_dist_info, is_main_process

from ..metrics import Counts, ImageCount
from ..utils.journal import Journal, journal_files, read_journal

FORMAT = "mmseg_domino.journal/1"


def open_journal(folder: str, header: Mapping[str, Any], resume: bool) -> tuple[Journal, Counts]:
    """Open this process's file of the journal. To be called by all processes."""
    header = {"format": FORMAT, **header}
    done = Counts()
    if resume:
        for entry in read_journal(folder, header):
            done.add(ImageCount.from_entry(entry))
        done.repeated = 0
    barrier()  # nobody adds a file while another still reads
    if not resume and is_main_process():
        remove_journal(folder)
    barrier()
    part = len(journal_files(folder)) if resume else 0
    barrier()
    rank, _ = get_dist_info()
    return Journal(folder, f"part{part:04}-rank{rank:04}", header), done


def remove_journal(folder: str) -> None:
    """Remove the journal's files, and its folder if nothing else is in it."""
    for path in journal_files(folder):
        path.unlink()
    if os.path.isdir(folder) and not os.listdir(folder):
        os.rmdir(folder)
