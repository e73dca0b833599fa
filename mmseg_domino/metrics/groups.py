"""The name under which images are counted: a domain of a data set."""

from collections.abc import Iterable


def check_name(kind: str, name: str) -> str:
    """Refuse a data set's or domain's name that cannot be filed under.

    Results are keyed by ``dataset/domain`` and predictions written to folders of these names.

    Args:
        kind: ``"dataset"`` or ``"domain"``, for the message.
        name: The name.

    Raises:
        ValueError: If it is no text, empty, ``.`` or ``..``, has a slash, a backslash, a control
            character, or white space at its ends; or ``source`` or ``targets`` as a data set,
            which stand for themselves in results.
    """
    if not isinstance(name, str) or not name or name in (".", ".."):
        raise ValueError(f"{kind} must be a name, got {name!r}")
    if "/" in name or "\\" in name:
        raise ValueError(
            f"{kind} must not contain a slash, got {name!r}: results are filed under "
            f"'dataset/domain'. Use {name.replace('/', '_').replace(chr(92), '_')!r} instead."
        )
    if kind == "dataset" and name in ("source", "targets"):
        raise ValueError(
            f"dataset must not be {name!r}: results use the word themselves; choose another name"
        )
    if name != name.strip() or not name.isprintable():
        raise ValueError(
            f"{kind} must be printable and without white space at its ends, got {name!r}"
        )
    return name


class GroupKey(str):
    """``dataset/domain``, checked. It is the text itself, so it serves as a key and in JSON.

    Raises:
        ValueError: If the text is not two names with a slash between; see :func:`check_name`.
    """

    __slots__ = ()

    def __new__(cls, key: str) -> "GroupKey":
        if isinstance(key, cls):
            return key
        if not isinstance(key, str) or key.count("/") != 1:
            raise ValueError(f"expected 'dataset/domain', such as 'acdc/fog', got {key!r}")
        for kind, name in zip(("dataset", "domain"), key.split("/"), strict=True):
            check_name(kind, name)
        return super().__new__(cls, key)

    @classmethod
    def of(cls, dataset: str, domain: str) -> "GroupKey":
        """The key of a domain of a data set."""
        return cls(f"{check_name('dataset', dataset)}/{check_name('domain', domain)}")

    @property
    def dataset(self) -> str:
        return self.partition("/")[0]

    @property
    def domain(self) -> str:
        return self.partition("/")[2]


def in_order(keys: Iterable[str], source: str | None) -> list[GroupKey]:
    """Keys of groups, the source's first, then by name."""
    return sorted(map(GroupKey, keys), key=lambda key: (key != source, key))


def targets_by_dataset(keys: Iterable[GroupKey], source: str | None) -> dict[str, list[GroupKey]]:
    """Keys of the groups but the source, by data set."""
    found: dict[str, list[GroupKey]] = {}
    for key in keys:
        if key != source:
            found.setdefault(key.dataset, []).append(key)
    return found
