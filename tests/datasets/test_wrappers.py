"""Which data sets a config's wrappers hold."""

import pytest

from mmseg_domino.datasets import leaf_datasets

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
