"""Looking through data set wrappers in configs."""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence


def leaf_datasets(node: Mapping | Sequence[Mapping] | None) -> Iterator[MutableMapping]:
    """Configs of the data sets that read files, in their order.

    Args:
        node: A data loader, a data set, wrappers in any nesting (``ConcatDataset``,
            ``RepeatDataset``, ``MultiImageMixDataset``, ...), a list of these, or ``None``.
    """
    if node is None:
        return
    if not isinstance(node, Mapping):
        for child in node:
            yield from leaf_datasets(child)
    elif "dataset" in node or "datasets" in node:
        yield from leaf_datasets(node.get("dataset"))
        yield from leaf_datasets(node.get("datasets"))
    else:
        yield node
