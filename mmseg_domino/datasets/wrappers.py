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


def set_data_roots(cfg: Mapping, roots: Sequence[str]) -> None:
    """Move the data of a config.

    Args:
        cfg: Its data loaders' data sets are changed.
        roots: ``NEW``, where all data sets share one root; else ``OLD=NEW`` for each root, or
            folder of roots, that moves.

    Raises:
        ValueError: If several roots would become one, or no data set has a root that is to move.
    """
    loaders = (cfg.get(f"{split}_dataloader") for split in ("train", "val", "test"))
    # A data set that stands in two loaders moves once.
    datasets = list(
        {id(leaf): leaf for loader in loaders for leaf in leaf_datasets(loader)}.values()
    )
    known = sorted({str(dataset.get("data_root")) for dataset in datasets})
    for given in roots:
        old, _, new = given.rpartition("=")
        if not old and len(known) > 1:
            raise ValueError(
                f"--data-root {given} moves a config whose data sets share one root, and this one "
                f"has {known}; say --data-root OLD=NEW for each that moves"
            )
        old = (old or known[0]).rstrip("/")
        moving = [d for d in datasets if f"{d.get('data_root')}/".startswith(f"{old}/")]
        if not moving:
            raise ValueError(f"--data-root {given}: no data set is below {old}, but in {known}")
        for dataset in moving:
            dataset["data_root"] = new + str(dataset.get("data_root"))[len(old) :]
