import multiprocessing
import os
import shutil
import signal
import time

import cv2
import numpy as np
import pytest
import torch
from torch import distributed

from mmseg_domino.domain import DomainEncoder, EmbeddingStore
from mmseg_domino.domain.extraction import DamagedImagesError, extract
from mmseg_domino.utils.images import list_images, read_image

from ..tiny_clip import write_tiny_clip

FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def encoder(tiny_clip):
    encoder = DomainEncoder(str(tiny_clip))
    encoder.text  # noqa: B018  (computed once, not in every forked process)
    return encoder


@pytest.fixture
def images(tmp_path):
    """23 images below two folders."""
    rng = np.random.default_rng(0)
    for i in range(23):
        path = tmp_path / "data" / ("fog" if i % 2 else "night") / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(
            str(path), cv2.resize(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8), (48, 40))
        )
    return list_images(tmp_path / "data")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "store.safetensors"


class Bar:
    """tqdm's interface, remembering."""

    made: list = []

    def __init__(self, total, **_):
        self.total, self.n = total, 0
        Bar.made.append(self)

    def update(self, count):
        self.n += count

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True


@pytest.mark.parametrize("workers", [0, 2])
def test_rows_are_the_encoders(images, encoder, out, workers):
    report = extract(images, encoder, out, batch_size=4, workers=workers)
    store = EmbeddingStore.open(out)
    assert (report.images, report.added, report.computed, report.damaged) == (23, 23, 23, {})
    assert list(store.keys) == sorted(images)
    for key in ("night/04.png", "fog/21.png"):
        pixels = encoder.prepare(read_image(images[key]))[None]
        torch.testing.assert_close(
            store.image(store.find(images[key])), encoder.encode_pixels(pixels)[0]
        )
    assert store.provenance["weights_sha256"] == encoder.weights_sha256
    assert {"date", "versions", "templates", "preprocessing"} <= set(store.provenance)
    assert not out.with_name(out.name + ".part").exists()


def test_progress_counts_every_image(images, encoder, out, monkeypatch):
    Bar.made.clear()
    monkeypatch.setattr("mmseg_domino.domain.extraction.tqdm", Bar)
    extract(images, encoder, out, batch_size=4, workers=0, progress=True)
    assert [(bar.total, bar.n, bar.closed) for bar in Bar.made] == [(23, 23, True)]


def _slowly(encoder, images, out, sign):
    embed = encoder.encode_pixels

    def slow(pixels):
        time.sleep(0.05)
        sign.value += 1
        return embed(pixels)

    encoder.encode_pixels = slow
    extract(images, encoder, out, batch_size=2, workers=0)


@pytest.mark.parametrize("batches_before", [1, 5, 9])
def test_killed_and_started_again_gives_the_same_bytes(
    images, encoder, tmp_path, out, batches_before
):
    whole = tmp_path / "whole.safetensors"
    extract(images, encoder, whole, batch_size=2, workers=0)
    sign = FORK.Value("i", 0)
    process = FORK.Process(target=_slowly, args=(encoder, images, out, sign))
    process.start()
    while sign.value < batches_before:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not out.exists()
    # Another batch size may be asked for: batches of another composition could differ in rounding.
    report = extract(images, encoder, out, batch_size=7, workers=2)
    assert 0 < report.computed <= 23
    if batches_before > 1:
        assert report.computed < 23
    assert report.added == 23
    assert out.read_bytes() == whole.read_bytes()


def test_killed_between_writing_and_clearing_up(images, encoder, out, monkeypatch):
    def die(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", die)
        with pytest.raises(KeyboardInterrupt):
            extract(images, encoder, out, workers=0)
    before = out.read_bytes()
    assert extract(images, encoder, out, workers=0).computed == 0
    assert out.read_bytes() == before
    assert not out.with_name(out.name + ".part").exists()


@pytest.mark.parametrize("left", ["plan.json", "batch-0000000.safetensors"])
def test_killed_while_clearing_up(images, encoder, out, monkeypatch, left):
    """What is left of the finished plan must not be taken for a part of the next."""
    some = dict(list(images.items())[:9])

    def die(path):
        for file in path.iterdir():
            if file.name != left:
                file.unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", die)
        with pytest.raises(KeyboardInterrupt):
            extract(some, encoder, out, batch_size=4, workers=0)
    report = extract(images, encoder, out, batch_size=4, workers=0)
    assert (report.computed, report.images) == (23 - 9, 23)
    assert not out.with_name(out.name + ".part").exists()
    store = EmbeddingStore.open(out)
    for key in images:
        pixels = encoder.prepare(read_image(images[key]))[None]
        torch.testing.assert_close(store.image(store.find(key)), encoder.encode_pixels(pixels)[0])


def test_a_torn_batch_file_is_computed_again(images, encoder, tmp_path, out):
    extract(images, encoder, tmp_path / "whole.safetensors", batch_size=4, workers=0)
    images["fog/99.png"] = tmp_path / "data" / "fog" / "99.png"
    images["fog/99.png"].write_bytes(b"no image")
    with pytest.raises(DamagedImagesError):
        extract(images, encoder, out, batch_size=4, workers=0)
    part = out.with_name(out.name + ".part")
    torn = part / "batch-0000000.safetensors"
    torn.write_bytes(torn.read_bytes()[:-7])
    report = extract(images, encoder, out, batch_size=4, workers=0, skip_bad=True)
    # The torn batch of four, and the one with the damaged image, of three.
    assert report.computed == 4 + 3
    assert report.images == 23


def _process(rank, world, encoder, images, out, rendezvous, results):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world
    )
    try:
        report = extract(images, encoder, out, batch_size=4, workers=0, skip_bad=True)
        results.put((rank, report.computed, report.images, sorted(report.damaged)))
    finally:
        distributed.destroy_process_group()


def test_processes_share_the_batches_and_give_the_same_bytes(images, encoder, tmp_path, out):
    bad = tmp_path / "data" / "fog" / "00.png"
    bad.write_bytes(images["fog/01.png"].read_bytes()[:-20])
    images["fog/00.png"] = bad
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    one = tmp_path / "one.safetensors"
    extract(images, encoder, one, batch_size=4, workers=0, skip_bad=True)
    torch.set_num_threads(threads)
    results = FORK.SimpleQueue()
    arguments = (2, encoder, images, out, tmp_path / "rendezvous", results)
    processes = [FORK.Process(target=_process, args=(rank, *arguments)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    reports = sorted(results.get() for _ in processes)
    assert [r[1] for r in reports] == [4 * 3 - 1, 4 * 3]
    assert {tuple(r[3]) for r in reports} == {("fog/00.png",)}
    assert {r[2] for r in reports} == {23}
    assert out.read_bytes() == one.read_bytes()


def test_adding_images_computes_only_those(images, encoder, out):
    some = dict(list(images.items())[:15])
    extract(some, encoder, out, batch_size=4, workers=0)
    before = EmbeddingStore.open(out)
    report = extract(images, encoder, out, batch_size=4, workers=0)
    after = EmbeddingStore.open(out)
    assert (report.computed, report.added, report.images) == (8, 8, 23)
    for key in some:
        assert torch.equal(after.image(after.find(key)), before.image(before.find(key)))
    assert extract(images, encoder, out, workers=0).computed == 0


def test_more_images_after_a_kill(images, encoder, out, monkeypatch):
    """The begun plan is finished as it was, then the new images are added."""
    some, done = dict(list(images.items())[:12]), []
    embed = encoder.encode_pixels

    def die_later(pixels):
        done.append(len(pixels))
        if len(done) > 3:
            raise KeyboardInterrupt
        return embed(pixels)

    with monkeypatch.context() as patch:
        patch.setattr(encoder, "encode_pixels", die_later)
        with pytest.raises(KeyboardInterrupt):
            extract(some, encoder, out, batch_size=2, workers=0)
    report = extract(images, encoder, out, batch_size=2, workers=0)
    assert report.images == report.added == 23
    assert 23 - 6 <= report.computed < 23


def test_damaged_images_are_listed_and_skipped_only_when_asked(images, encoder, tmp_path, out):
    for key in ("fog/03.png", "night/08.png"):
        images[key].write_bytes(images[key].read_bytes()[:60])
    with pytest.raises(DamagedImagesError, match="--skip-bad") as caught:
        extract(images, encoder, out, batch_size=4, workers=0)
    assert set(caught.value.damaged) == {"fog/03.png", "night/08.png"}
    assert all(key in str(caught.value) for key in caught.value.damaged)
    assert not out.exists()
    report = extract(images, encoder, out, batch_size=4, workers=0, skip_bad=True)
    assert set(report.damaged) == {"fog/03.png", "night/08.png"}
    # Only the two batches with damaged images were left to do.
    assert report.computed == 8 - 2
    store = EmbeddingStore.open(out)
    assert len(store) == 21
    assert set(store.provenance["skipped"]) == {"fog/03.png", "night/08.png"}
    # Once repaired it is added, and no longer counted as skipped.
    images["fog/03.png"].write_bytes(images["fog/05.png"].read_bytes())
    report = extract(images, encoder, out, batch_size=4, workers=0, skip_bad=True)
    assert (report.computed, report.images) == (1, 22)
    assert set(EmbeddingStore.open(out).provenance["skipped"]) == {"night/08.png"}


def test_a_file_that_vanishes_is_reported(images, encoder, out):
    images["fog/03.png"].unlink()
    with pytest.raises(DamagedImagesError, match=r"fog/03\.png: .*No such file"):
        extract(images, encoder, out, workers=0)


def test_nothing_but_damage(images, encoder, out):
    for path in images.values():
        path.write_bytes(b"x")
    with pytest.raises(DamagedImagesError):
        extract(images, encoder, out, workers=0, skip_bad=True)
    assert not out.exists()


def test_another_model_or_bank_is_refused(images, encoder, tiny_clip, tmp_path, out):
    extract(images, encoder, out, workers=0)
    before = out.read_bytes()
    bank = DomainEncoder(str(tiny_clip), bank="weather")
    with pytest.raises(ValueError, match=r"prompt bank 'acdc'.*instead of 'weather'"):
        extract(images, bank, out, workers=0)
    model = DomainEncoder(str(write_tiny_clip(tmp_path / "other", seed=1)))
    with pytest.raises(ValueError, match="another --out"):
        extract(images, model, out, workers=0)
    assert out.read_bytes() == before


def test_an_unfinished_run_of_another_kind_is_refused(images, encoder, tiny_clip, out):
    images["fog/03.png"].write_bytes(b"x")
    with pytest.raises(DamagedImagesError):
        extract(images, encoder, out, workers=0)
    with pytest.raises(ValueError, match=r"unfinished extraction.*Remove the folder"):
        extract(images, DomainEncoder(str(tiny_clip), bank="weather"), out, workers=0)
    fewer = {key: path for key, path in images.items() if key != "night/02.png"}
    with pytest.raises(ValueError, match=r"1 images that are not.*night/02\.png"):
        extract(fewer, encoder, out, workers=0)


def test_the_day_may_be_set(images, encoder, out, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    extract(images, encoder, out, workers=0)
    assert EmbeddingStore.open(out).provenance["date"] == "1970-01-02"


def test_arguments(images, encoder, tmp_path):
    with pytest.raises(ValueError, match="safetensors"):
        extract(images, encoder, tmp_path / "store.bin")
    with pytest.raises(ValueError, match="batch_size"):
        extract(images, encoder, tmp_path / "s.safetensors", batch_size=0)
