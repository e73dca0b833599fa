"""Several processes give what one gives, digit for digit."""

import json
import os
import socket
import sys
import traceback

import numpy as np
import pytest
import torch.distributed
from mmengine.dataset import DefaultSampler

from mmseg_domino.evaluation import DomainIoUMetric
from mmseg_domino.metrics.counts import Counts, ImageCount, merge_counts
from mmseg_domino.metrics.files import to_json

from ..processes import run_processes
from .samples import META, mixed, run

SOURCE = "cityscapes/clear_day"


def _worker(rank, world_size, port, folder, task):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), OMP_NUM_THREADS="1")
    torch.set_num_threads(1)
    os.chdir(folder)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=world_size)
    try:
        result = task(rank, folder)
        with open(f"{folder}/rank{rank}.json", "w") as file:
            json.dump(result, file)
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        raise
    finally:
        torch.distributed.destroy_process_group()


def spawn(task, folder, world_size=2):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (world_size, port, str(folder), task)
    run_processes(_worker, arguments, world_size)
    return [json.loads((folder / f"rank{r}.json").read_text()) for r in range(world_size)]


def evaluate(metric, samples):
    """As a distributed test loop does: the sampler pads the shares to one length."""
    metric.dataset_meta = META
    for index in DefaultSampler(samples, shuffle=False):
        metric.process({}, [samples[index].to_dict()])
    return metric.evaluate(len(samples))


def odd_number():
    return mixed(images=3)[:17]


def whole_test(rank, folder):
    metric = DomainIoUMetric(source=SOURCE, calibration=True, results_file=f"{folder}/results.json")
    return evaluate(metric, odd_number())


def interrupted_then_resumed(rank, folder):
    samples = odd_number()
    first = DomainIoUMetric(source=SOURCE, journal=f"{folder}/journal")
    first.dataset_meta = META
    for index in list(DefaultSampler(samples, shuffle=False))[:3]:
        first.process({}, [samples[index].to_dict()])
    again = DomainIoUMetric(source=SOURCE, journal=dict(folder=f"{folder}/journal", resume=True))
    return evaluate(again, samples[6:])


def failing(rank, folder):
    metric = DomainIoUMetric(class_subsets={"x": ["tram"]})
    try:
        evaluate(metric, odd_number())
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_give_what_one_gives(tmp_path, world_size):
    one = DomainIoUMetric(source=SOURCE, calibration=True)
    expected = run(one, odd_number())
    results = spawn(whole_test, tmp_path, world_size)
    assert all(result == expected for result in results)
    written = json.loads((tmp_path / "results.json").read_text())
    expected = to_json(one.last_results, written["per_image_sha256"])
    assert written == json.loads(json.dumps(expected))


def test_an_interrupted_test_resumes_in_several_processes(tmp_path):
    expected = run(DomainIoUMetric(source=SOURCE), odd_number())
    assert all(result == expected for result in spawn(interrupted_then_resumed, tmp_path))


def test_a_failure_in_the_first_process_stops_all(tmp_path):
    messages = spawn(failing, tmp_path)
    assert messages[0] == messages[1] == "class subset 'x' names unknown classes ['tram']"


def image(name, value):
    return ImageCount("a/b", name, (1, 1), confusion=np.full((2, 2), value))


def counted(*images):
    counts = Counts()
    for one in images:
        counts.add(one)
    return counts


def test_padding_is_taken_back():
    first = counted(image("0", 1), image("2", 3), image("4", 5))
    second = counted(image("1", 2), image("3", 4), image("0", 1))
    merged = merge_counts([first, second])
    assert merged.confusions["a/b"][0, 0] == 1 + 2 + 3 + 4 + 5
    assert (len(merged), merged.repeated) == (5, 1)


def test_an_overlap_that_is_no_padding_is_refused():
    first = counted(*(image(str(i), 1) for i in range(20)))
    second = counted(*(image(str(i), 1) for i in range(20)))
    with pytest.raises(ValueError, match="DefaultSampler"):
        merge_counts([first, second])


def test_scores_of_different_banks_are_refused():
    def scored(name, names):
        return ImageCount("a/b", name, (1, 1), None, None, np.ones(2, np.float32), names)

    with pytest.raises(ValueError, match="another prompt bank"):
        counted(scored("0", ("fog", "night")), scored("1", ("day", "night")))
    parts = [counted(scored("0", ("fog", "night"))), counted(scored("1", ("day", "night")))]
    with pytest.raises(ValueError, match="different banks"):
        merge_counts(parts)
