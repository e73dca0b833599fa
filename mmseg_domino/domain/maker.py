"""Who made embeddings: what must agree before they are put, or used, together."""

from collections.abc import Mapping

from .prompts import load_prompt_bank

_MAKER = ("weights_sha256", "bank_sha256", "preprocessing", "precision", "context_layer")


def context_layer(model: str, given: int | None = None) -> int:
    """The layer of a text tower whose state is the context space, -1 for the last.

    Args:
        model: Name of the model.
        given: What the encoder's arguments say; None for -2 with ViT-H-14, the tower of Stable
            Diffusion 2.x, whose UNet was trained on the output of the layer before the last.

    Raises:
        ValueError: If it is no negative number.
    """
    if given is None:
        return -2 if model.startswith("ViT-H-14") else -1
    if given >= 0:
        raise ValueError(f"context_layer counts from the last, which is -1; got {given}")
    return given


def check_same_maker(made: Mapping, wanted: Mapping, where: str, remedy: str) -> None:
    """Raise if two provenances differ in the model, its arithmetic or the prompt bank."""
    differing = [name for name in _MAKER if made.get(name) != wanted.get(name)]
    if not differing:
        return
    said = []
    if set(differing) - {"bank_sha256"}:
        said.append(f"the model {_model(made)} instead of {_model(wanted)}")
    if "bank_sha256" in differing:
        banks = [
            f"{p.get('bank')!r} (sha256 {p.get('bank_sha256', '')[:8]})" for p in (made, wanted)
        ]
        said.append(f"the prompt bank {banks[0]} instead of {banks[1]}")
    raise ValueError(f"{where} was made with {' and '.join(said)}. {remedy}")


def _model(provenance: Mapping) -> str:
    name = provenance.get("model")
    if provenance.get("pretrained"):
        name = f"{name}/{provenance['pretrained']}"
    weights = (provenance.get("weights_sha256") or "")[:8]
    layer = provenance.get("context_layer")
    layer = f", context of layer {layer}" if layer else ""
    return f"{name} (weights {weights}, {provenance.get('precision')}{layer})"


def _asked_for(encoder: Mapping) -> dict:
    """What an encoder's arguments say of the provenance of its embeddings, without building it.

    The weights are hashed where the arguments name a file of them; a published model's name and tag
    say which they are.
    """
    # Reading a store loads no open_clip unless an encoder is to be compared with.
    from .encoder_weights import brings_weights, weights_hash

    model = str(encoder.get("model", "ViT-L-14"))
    pretrained = encoder.get("pretrained", "openai")
    bank = load_prompt_bank(encoder.get("bank", "acdc"))
    layer = context_layer(model, encoder.get("context_layer"))
    wanted = {
        "model": model,
        "context_layer": None if layer == -1 else layer,
        "pretrained": pretrained if pretrained == "random" or not brings_weights(model) else None,
        "precision": encoder.get("precision", "fp32"),
        "bank_sha256": bank.sha256,
    }
    sha256 = weights_hash(model, pretrained)
    return wanted if sha256 is None else wanted | {"weights_sha256": sha256}


def check_made_by(made: Mapping, encoder: Mapping, where: str) -> None:
    """Raise if embeddings were made by another encoder than a config names."""
    wanted = _asked_for(encoder)
    differing = [name for name, value in wanted.items() if made.get(name) != value]
    if "weights_sha256" in wanted and "weights_sha256" not in differing:
        # The same weights may lie elsewhere.
        differing = [name for name in differing if name not in ("model", "pretrained")]
    if differing:
        said = "; ".join(f"{n} {made.get(n)!r:.60}, asked for {wanted[n]!r:.60}" for n in differing)
        raise ValueError(
            f"{where} was made by another encoder than the config names: {said}. Extract again "
            "into another file with `domino domains extract`, or name that encoder "
            "(domino.encoder)."
        )
