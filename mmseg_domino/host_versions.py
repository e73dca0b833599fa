"""Combinations of OpenMMLab's packages and their dependencies that do not import by themselves."""

from types import ModuleType

from .import_hooks import after_import


def _without_multimodal(dependency: ModuleType) -> None:
    """Leave out mmpretrain's multimodal models where transformers has dropped what they import.

    mmpretrain (1.3.6 and before) imports them wherever pycocotools and transformers are found,
    and with transformers 5 fails on names that are gone. Without pycocotools, it puts a
    placeholder in the place of each, which is what happens here, too.
    """
    from importlib.metadata import version

    if not dependency.WITH_MULTIMODAL or int(version("transformers").split(".")[0]) < 5:
        return

    def register_placeholders(names, registry) -> None:
        for name in names:

            def refuse(*args, name=name, **kwargs):
                raise ImportError(
                    f"{name} of mmpretrain needs transformers 4, found {version('transformers')}: "
                    'pip install "transformers<5"'
                )

            registry.register_module(name=name, module=refuse)

    dependency.WITH_MULTIMODAL = False
    dependency.register_multimodal_placeholder = register_placeholders


def register_host_versions() -> None:
    """Correct the packages now, or as soon as they are imported. Safe to call again."""
    after_import("mmpretrain.utils.dependency", _without_multimodal)
