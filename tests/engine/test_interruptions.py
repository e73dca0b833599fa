"""Trainings and tests that are killed, or meet another in their folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmseg_domino import engine
from mmseg_domino.engine import newest_checkpoint
from mmseg_domino.engine.hooks import AtomicCheckpointHook
from mmseg_domino.utils.checkpoints import CheckpointError
from mmseg_domino.utils.disk import DiskFullError
from mmseg_domino.utils.journal import JournalError
from mmseg_domino.utils.locks import FolderInUseError


class Killed(BaseException):
    """What a kill is to the code after it: nothing of it runs."""


def weights(path):
    return torch.load(path, weights_only=False)["state_dict"]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def kill_in_writing(patch, at):
    original = torch.save

    def save(content, file):
        if content["meta"]["iter"] == at:
            file.write(b"half a file")
            raise Killed
        original(content, file)

    patch.setattr(torch, "save", save)


def kill_before_renaming(patch, at):
    original = os.replace

    def replace(source, target):
        if str(target).endswith(f"iter_{at}.pth"):
            shutil.copy(source, Path(source).with_name(".mmseg_domino-left.pth"))
            raise Killed
        original(source, target)

    patch.setattr(os, "replace", replace)


def kill_before_last_checkpoint(patch, at):
    original = os.replace

    def replace(source, target):
        if str(target).endswith("last_checkpoint") and f"iter_{at}." in Path(source).read_text():
            raise Killed
        original(source, target)

    patch.setattr(os, "replace", replace)


def kill_before_removing(patch, at):
    original = AtomicCheckpointHook.before_train

    def before_train(self, runner):
        original(self, runner)
        remove = self.file_backend.remove

        def killed(path):
            if str(path).endswith(f"iter_{at - 1}.pth"):
                raise Killed
            remove(path)

        self.file_backend.remove = killed

    patch.setattr(AtomicCheckpointHook, "before_train", before_train)


@pytest.mark.parametrize(
    ("kill", "goes_on_from"),
    [
        (kill_in_writing, 2), (kill_before_renaming, 2), (kill_before_last_checkpoint, 3),
        (kill_before_removing, 3),
    ],
)  # fmt: skip
def test_keeping_one_checkpoint_survives_a_kill_at_any_moment(
    small_config, small_run, kill, goes_on_from, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        kill(patch, 3)
        with pytest.raises(Killed):
            engine.build_runner(small_config(tmp_path)).train()
    assert newest_checkpoint(tmp_path) == str(tmp_path / f"iter_{goes_on_from}.pth")
    (tmp_path / "last_checkpoint").write_text("")  # as an older version may have left it
    runner = engine.build_runner(small_config(tmp_path, resume=True))
    runner.train()
    assert runner.load_report.source.endswith(f"iter_{goes_on_from}.pth")
    assert same(weights(tmp_path / "iter_4.pth"), weights(small_run / "iter_4.pth"))
    left = {p.name for p in tmp_path.iterdir() if p.suffix == ".pth"}
    assert left == {"iter_4.pth"}  # neither the old one nor a temporary file


def test_a_copied_folder_goes_on_from_its_own_checkpoints(small_run, tmp_path, monkeypatch):
    for name, number in (("first", 4), ("copy", 2)):
        (tmp_path / name).mkdir()
        shutil.copy(small_run / f"iter_{number}.pth", tmp_path / name)
        (tmp_path / name / "last_checkpoint").write_text(str(tmp_path / "first" / "iter_4.pth"))
    assert newest_checkpoint(tmp_path / "copy") == str(tmp_path / "copy" / "iter_2.pth")
    # an empty one names no folder, not even the current one
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "last_checkpoint").write_text("")
    monkeypatch.chdir(tmp_path / "first")
    assert newest_checkpoint(tmp_path / "empty") is None


def test_the_newest_readable_checkpoint_is_taken(small_run, tmp_path):
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "nothing") is None
    for number in (1, 2, 3, 4):
        shutil.copy(small_run / f"iter_{number}.pth", tmp_path)
        os.utime(tmp_path / f"iter_{number}.pth", (1000 + number, 1000 + number))
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "iter_1.pth"))
    torch.save({"state_dict": {}}, tmp_path / "weights_only.pth")
    shutil.copy(small_run / "iter_4.pth", tmp_path / "best_mIoU_iter_4.pth")
    assert newest_checkpoint(tmp_path).endswith("iter_4.pth")
    data = bytearray((tmp_path / "iter_4.pth").read_bytes())
    data[len(data) // 2] ^= 1  # in the middle of a tensor
    (tmp_path / "iter_4.pth").write_bytes(data)
    (tmp_path / "iter_3.pth").write_bytes(data[: len(data) // 2])
    assert newest_checkpoint(tmp_path).endswith("iter_2.pth")
    (tmp_path / "iter_1.pth").unlink()
    (tmp_path / "iter_2.pth").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"none of the checkpoints in .*iter_2\.pth"):
        newest_checkpoint(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(small_run / "iter_2.pth", elsewhere)
    (tmp_path / "last_checkpoint").write_text(str(elsewhere / "iter_9.pth"))
    assert newest_checkpoint(tmp_path) == str(elsewhere / "iter_2.pth")
    for damaged in (b"elsewhere/\xb4ter_9.pth", b"else\0where/iter_9.pth"):
        (tmp_path / "last_checkpoint").write_bytes(damaged)
        with pytest.raises(CheckpointError, match="none of the checkpoints"):
            newest_checkpoint(tmp_path)


def test_a_better_checkpoint_replaces_the_best_one_only_when_it_is_written(small_config, tmp_path):
    hook = dict(type="CheckpointHook", save_best="mIoU", by_epoch=False, interval=2)
    runner = engine.build_runner(small_config(tmp_path, **{"default_hooks.checkpoint": hook}))
    checkpoint = next(h for h in runner.hooks if isinstance(h, AtomicCheckpointHook))
    seen = []

    def save(out_dir, filename, *args, **kwargs):
        seen.append(sorted(p.name for p in tmp_path.glob("best_*")))
        (tmp_path / filename).write_text("")

    runner.save_checkpoint = save
    checkpoint.before_train(runner)
    for iteration, value in ((2, 10.0), (4, 20.0), (6, 15.0)):
        runner.train_loop._iter = iteration
        checkpoint.after_val_epoch(runner, {"mIoU": value})
    assert seen == [[], ["best_mIoU_iter_2.pth"]]
    assert [p.name for p in tmp_path.glob("best_*")] == ["best_mIoU_iter_4.pth"]
    with pytest.raises(ValueError, match=r"save_best=mIoU: .* gave city/day/mIoU, acdc/fog/mIoU"):
        checkpoint.after_val_epoch(runner, {"city/day/mIoU": 3, "acdc/fog/mIoU": 2, "acdc/aAcc": 1})


def test_a_validation_without_save_best_writes_no_checkpoint(small_config, tmp_path):
    runner = engine.build_runner(small_config(tmp_path))
    checkpoint = next(h for h in runner.hooks if isinstance(h, AtomicCheckpointHook))
    checkpoint.before_train(runner)
    checkpoint.after_val_epoch(runner, {"mIoU": 10.0})
    assert not list(tmp_path.glob("*.pth"))


def test_a_second_training_or_test_in_a_folder_is_refused(small_config, small_run, tmp_path):
    code = (
        "import sys\nfrom mmseg_domino.utils.locks import folder_lock\n"
        "with folder_lock(sys.argv[1], sys.argv[2], 'busy'):\n"
        "    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    for name in ("train", "test"):
        before = {p.name for p in tmp_path.iterdir()}
        cfg = small_config(tmp_path, load_from=str(small_run / "iter_4.pth"))
        runner = engine.build_runner(cfg)
        with subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), name], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, cwd=Path(__file__).parents[2],
        ) as other:  # fmt: skip
            other.stdout.readline()
            with pytest.raises(FolderInUseError, match=rf"in use: busy by process {other.pid}"):
                runner.train() if name == "train" else runner.test()
            other.stdin.close()
        written = {p.name for p in tmp_path.iterdir() if p.is_file()} - before
        assert written == {f".{name}.lock"}  # not even the config


def test_a_full_disk_is_said_in_training(small_config, tmp_path, monkeypatch):
    original = torch.save

    def save(content, file):
        if content["meta"]["iter"] == 2:
            raise OSError(28, "No space left on device")
        original(content, file)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(DiskFullError, match=rf"{tmp_path} ran full .*Make room"):
        engine.build_runner(small_config(tmp_path)).train()
    assert newest_checkpoint(tmp_path).endswith("iter_1.pth")


@pytest.mark.parametrize("changed", ["checkpoint", "config", "store", "nothing"])
def test_a_resumed_test_is_of_the_same_checkpoint_config_and_store(
    small_config, small_run, changed, tmp_path, monkeypatch
):
    store, checkpoint = tmp_path / "domains.safetensors", tmp_path / "model.pth"
    store.write_bytes(b"one")
    shutil.copy(small_run / "iter_4.pth", checkpoint)

    def run(resume, **changes):
        cfg = small_config(tmp_path / "w", load_from=str(checkpoint), **changes)
        cfg.test_dataloader.dataset.pipeline[0].note = str(store)
        cfg.test_dataloader.dataset.pipeline[0].type = "tests.engine.test_interruptions.Tagged"
        engine.record_results(cfg, str(checkpoint), resume=resume)
        return engine.build_runner(cfg).test()

    with monkeypatch.context() as patch:
        patch.setattr("mmseg_domino.evaluation.domain_iou_metric.DomainIoUMetric.finish", killed)
        with pytest.raises(Killed):
            run(False)
    changes = {}
    if changed == "checkpoint":
        shutil.copy(small_run / "iter_2.pth", checkpoint)
    elif changed == "store":
        store.write_bytes(b"two")
    elif changed == "config":
        changes = {"model.test_cfg": dict(mode="slide", crop_size=(32, 32), stride=(16, 16))}
    if changed == "nothing":
        assert run(True)
        return
    with pytest.raises(JournalError, match=r"fingerprint = 'checkpoint .* config .* files"):
        run(True, **changes)


def killed(*_):
    raise Killed


def Tagged(note, **kwargs):
    """``SetDomain`` that names a file, as transforms with a store do."""
    from mmseg_domino.datasets import SetDomain

    return SetDomain(**kwargs)
