"""Any backbone, made domain-aware through its own normalisation layers.

Shapes: ``B`` batch, ``D`` embedding width, ``H W`` spatial.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..adapters.frozen_state import keep_out_frozen
from ..adapters.tuning import apply_tuning, merge_tuned, starting_weights, train_tuned
from ..layers.domain_inputs import DomainInputs
from ..layers.domain_norms import DomainNorms, norm_options
from ..layers.key_names import hide_child_name
from .domain_options import check_centre, choose_rows, part_injection, read_domain_text
from .missing_weights import explain_missing_weights


@MODELS.register_module()
class DominoBackbone(BaseModule):
    r"""A backbone whose normalisation layers take each image's domain into account.

    .. math:: y = (1 \pm g(d)) \cdot \mathrm{norm}(x) \pm h(d)

    ``norm`` is the pretrained layer; ``g`` and ``h`` come from one small network for all layers and
    are exactly zero until trained. In the state dict the wrapped backbone's parameters keep their
    names, as if it stood here itself: its checkpoints and those of whole stock segmentors load
    unchanged. The new parameters are called ``domain.*``.

    Args:
        backbone: Config of any registered backbone.
        domain_channels: ``D``.
        norms: Which layers: ``"all"``, a regular expression that is searched for in their names
            such as ``r"^layer[34]"``, or a dict of
            :data:`~mmseg_domino.models.layers.domain_norms.NORM_OPTIONS`.
        injection: ``"subtract"`` or ``"add"`` ``g`` and ``h``, or ``"none"``: the plain backbone,
            trained as ``tune`` says.
        centre: Domain at which the backbone is the plain one; see
            :func:`~.domain_options.check_centre`. None for no such domain.
        tune: ``"full"`` trains the backbone's own parameters too; ``"frozen"`` keeps them and its
            statistics; ``"norms"`` trains scale and shift of its norm layers. ``"lora"``,
            ``"rein"`` and ``"soma"`` keep them and train adapters; see
            :data:`~mmseg_domino.models.adapters.tuning.TUNING`. ``g`` and ``h`` are trained in each
            case.
        adapter: Options of the adapter: :data:`~mmseg_domino.models.adapters.lora.LORA_OPTIONS`,
            :data:`~mmseg_domino.models.adapters.rein.REIN_OPTIONS` or
            :data:`~mmseg_domino.models.adapters.soma.SOMA_OPTIONS`.
        save_frozen: Whether state dicts hold frozen weights. If not, they are restored by the
            wrapped backbone's own initialisation.
        pretrained: Handed to the wrapped backbone, as segmentors do with theirs.
        init_cfg: MMEngine's initialisation config, of the wrapper.

    Shape:
        - ``x``: images ``(B, 3, H, W)``; ``domain``: ``(B, D)``, or by space.
        - Output: what the wrapped backbone gives, and Rein's linked queries ``(m, Q)`` last.

    Raises:
        ValueError: If the backbone needs more than the images, no layer is chosen, the embeddings
            have another shape, or a layer sees a batch of another size than the images.
    """

    accepts_domain = True

    def __init__(
        self,
        backbone: dict,
        domain_channels: int,
        norms: str | Mapping = "all",
        injection: str = "subtract",
        centre: str | Mapping | None = None,
        tune: str = "full",
        adapter: Mapping | None = None,
        save_frozen: bool = True,
        pretrained: str | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        options = norm_options(norms)
        if options is None:
            raise ValueError(
                "DominoBackbone has nothing but norm layers to adapt; for the plain backbone give "
                "injection='none'"
            )
        options["injection"] = part_injection(injection, options["injection"], "norms")
        if pretrained is not None:
            backbone = {**backbone, "pretrained": pretrained}
        self.backbone = MODELS.build(backbone)
        _check_wrappable(self.backbone)
        self.tune = tune
        self.reins = apply_tuning(self.backbone, tune, adapter)
        self.links_queries = hasattr(self.reins, "merge")
        self.domain: DomainNorms | None = None
        self.centre = None
        if options["injection"] != "none":
            self.centre = check_centre(centre, [options["space"]])
            self.domain = DomainNorms(
                self.backbone, domain_channels, centred=centre is not None, **options
            )
        hide_child_name(self, "backbone")
        keep_out_frozen(self, save_frozen)
        self._has_weights = False

    def init_weights(self) -> None:
        """Initialise the wrapped backbone by its own rules; ``g`` and ``h`` stay as they are."""
        with self._starting():
            super().init_weights()
        if self.centre is not None:
            text = read_domain_text(self.centre)
            table = text.table(self.domain.space)
            self.domain.centre.set(choose_rows(table, text.keys, self.centre["domain"]))

    def read_weights(self) -> None:
        """Give the wrapped backbone the weights that training starts from, if it has none yet."""
        if not self._has_weights:
            with self._starting():
                self.backbone.init_weights()

    @contextmanager
    def _starting(self) -> Iterator[None]:
        with explain_missing_weights(self.backbone), starting_weights(self.backbone, self.tune):
            yield
        self._has_weights = True

    def merge_adapters(self) -> None:
        """Add trained LoRA or SoMA adapters to the weights: the plain backbone remains.

        Raises:
            ValueError: For Rein.
        """
        merge_tuned(self.backbone, self.tune)
        self.tune = "frozen"

    def train(self, mode: bool = True):
        """As the wrapped backbone does it; what is not trained whole stays in evaluation mode."""
        super().train(mode)
        train_tuned(self.backbone, self.tune, mode)
        return self

    def forward(self, x: Tensor, domain: DomainInputs = None) -> Sequence[Tensor]:
        if self.domain is None:
            features = self.backbone(x)
        else:
            features = self.domain.run(self.backbone, x, domain)
        return (*features, self.reins.queries()) if self.links_queries else features


def _check_wrappable(backbone: nn.Module) -> None:
    name = type(backbone).__name__
    for part in ("domain", "reins"):
        if hasattr(backbone, part):
            raise ValueError(
                f"{name} has a part called {part!r} already, which DominoBackbone adds"
            )
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [
        p.name
        for p in inspect.signature(backbone.forward).parameters.values()
        if p.kind in kinds and p.default is inspect.Parameter.empty
    ]
    if len(needed) != 1:
        raise ValueError(
            f"DominoBackbone calls backbone(images); {name}.forward needs {needed or 'no input'}"
        )
