"""MMEngine's registries with the scope ``mmseg_domino``.

Each is a child of MMSegmentation's, where the parts of this package are registered, so that under
this scope everything is known that is known there. MMEngine asks for the scope by itself: it stamps
``_scope_='mmseg_domino'`` on what a config takes from a base such as
``mmseg_domino::_base_/datasets/acdc.py``, and imports this module when it meets it.
"""

import mmengine.registry
import mmseg.registry
from mmengine.registry import Registry

#: By the names that they have in ``mmengine.registry``.
REGISTRIES = {
    name: Registry(
        root.name,
        parent=getattr(mmseg.registry, name, root),
        scope="mmseg_domino",
        locations=["mmseg_domino.plugin"],
    )
    for name, root in vars(mmengine.registry).items()
    if isinstance(root, Registry)
}
