"""Which data sets a config's wrappers hold."""

import pytest

from mmseg_domino.datasets import leaf_datasets, set_data_roots

A, B = dict(type="A", pipeline=[]), dict(type="B", data_root="b")


@pytest.mark.parametrize(
    ("node", "leaves"),
    [
        (None, []),
        (A, [A]),
        ([A, B], [A, B]),
        (dict(batch_size=2, dataset=A), [A]),
        (dict(type="ConcatDataset", datasets=[A, dict(type="RepeatDataset", dataset=B)]), [A, B]),
        # a wrapper with a pipeline of its own reads no files
        (dict(type="MultiImageMixDataset", dataset=B, pipeline=[dict(type="Mosaic")]), [B]),
    ],
)
def test_leaves_in_their_order(node, leaves):
    assert list(leaf_datasets(node)) == leaves


def test_roots_that_move():
    shared = dict(type="A", data_root="data/a/")
    cfg = dict(
        train_dataloader=dict(dataset=shared),
        val_dataloader=dict(dataset=shared),
        test_dataloader=dict(dataset=dict(datasets=[shared, dict(type="B", data_root="data/b")])),
    )
    roots = lambda: [leaf["data_root"] for leaf in leaf_datasets(cfg["test_dataloader"])]  # noqa: E731
    with pytest.raises(ValueError, match=r"/mnt moves a config whose .* share one root"):
        set_data_roots(cfg, ["/mnt"])
    with pytest.raises(ValueError, match="no data set is below dat, but in"):
        set_data_roots(cfg, ["dat=/mnt"])
    set_data_roots(cfg, ["data=data/new", "data/new/b=/fast/b"])
    assert roots() == ["data/new/a/", "/fast/b"]
    one = dict(test_dataloader=dict(dataset=dict(type="A", data_root="data/a/")))
    set_data_roots(one, ["/mnt/a"])
    assert one["test_dataloader"]["dataset"]["data_root"] == "/mnt/a/"
