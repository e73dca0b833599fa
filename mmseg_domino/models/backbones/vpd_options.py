"""The options of ``DominoVPD``, and what is refused of them."""

from collections.abc import Mapping, Sequence

from ...domain.prompts import PromptBank, load_prompt_bank
from ...utils.options import complete_options
from .domain_options import check_centre, part_injection

#: Pixels a position of the four feature levels.
STRIDES = (8, 16, 32, 64)
#: The middle block's resolution has no attention but its own, which VPD leaves out.
_MAP_STRIDES = STRIDES[:3]
#: What ``attention = dict(...)`` may hold, with its defaults.
ATTENTION_OPTIONS = {
    # "subtract" (the paper's best), "add", "concat" or "none"; None: as the backbone's `injection`.
    "injection": None,
    # Space of the embeddings: "context" is what Stable Diffusion was trained on. None: the only one
    # that samples carry.
    "space": None,
    # Factor of the displacement, times a trained gate that starts at zero; gate=False for the
    # paper's own form. None: a gate where there is a displacement.
    "scale": 1.0,
    "gate": None,
    # A displacement a class: dict(bank=...) with the prompt bank whose domains the scores are of.
    "classwise": None,
    # Strides of the levels that get attention maps, of 8, 16 and 32. VPD: maps of up to 32 x 32
    # positions at 512 x 512, so 16 and 32.
    "maps": (16, 32),
}
#: What ``vae = dict(...)`` may hold, with its defaults.
VAE_OPTIONS = {
    # Another encoder in place of that of `weights`: a diffusers folder of an AutoencoderKL or
    # AutoencoderTiny, or TAESD's original file.
    "weights": None,
    # Images at a time; None for all. Saves memory.
    "batch": None,
    # Precision; see LatentEncoder.
    "dtype": None,
    # "mode" of the posterior (VPD) or a "sample" of it (TADP).
    "latent": "mode",
    # Factor of the latent: 1 (VPD), or 0.18215 as in diffusion training (TADP).
    "scale": 1.0,
    # Folder that keeps the latent of every image and crop, so that none is encoded twice; it grows
    # by a file for each. Worth it where the same crops come again.
    "cache": None,
}
#: What ``execution = dict(...)`` may hold, with its defaults. Results do not depend on it.
EXECUTION_OPTIONS = {
    # Recompute activations in the backward pass to save memory.
    "checkpointing": False,
    # Lay convolutions out with channels last.
    "channels_last": False,
    # Compile the passes of UNet and encoder with torch.compile; a dict has its arguments, such as
    # dict(mode="reduce-overhead") for CUDA graphs.
    "compile": False,
}


def check_strides(strides: Sequence[int]) -> tuple[int, ...]:
    """``attention.maps``, sorted."""
    several = isinstance(strides, Sequence) and not isinstance(strides, str)
    if not several or set(strides) - set(_MAP_STRIDES) or len(set(strides)) < len(strides):
        raise ValueError(
            f"attention.maps is a tuple of strides of {', '.join(map(str, _MAP_STRIDES))}, each "
            f"once, or () for no maps; got {strides!r}"
        )
    return tuple(sorted(strides))


def check_timestep(timestep: int) -> int:
    if isinstance(timestep, bool) or not isinstance(timestep, int) or not 0 <= timestep < 1000:
        raise ValueError(f"timestep is a whole number from 0 to 999 (VPD: 1), got {timestep!r}")
    return timestep


def choose_injections(whole: str, norms: Mapping | None, attention: Mapping) -> dict[str, str]:
    """How the domain enters each part; in ``attention``, what would have no effect is cleared."""
    found = {
        "attention": part_injection(whole, attention["injection"], "attention"),
        "norms": "none" if norms is None else part_injection(whole, norms["injection"], "norms"),
    }
    if whole != "none" and set(found.values()) == {"none"}:
        raise ValueError(
            f"injection={whole!r} would have no effect: cross-attention takes no embedding and no "
            "norm layer is chosen. Give `norms`, or injection='none' for plain VPD"
        )
    if found["attention"] == "none":
        useless = [n for n in ("gate", "classwise") if attention[n] and whole != "none"]
        if useless:
            raise ValueError(
                f"attention.{useless[0]} would have no effect with attention.injection='none'"
            )
        attention.update(gate=None, classwise=None, scale=1.0)
    return found


def choose_centre(
    centre: str | Mapping | None, injections: Mapping, norms: Mapping | None, attention: Mapping
) -> dict | None:
    """What ``centre`` stands for; None where the domain enters nowhere."""
    spaces = []
    if injections["norms"] != "none":
        spaces.append(norms["space"])
    if injections["attention"] != "none" and attention["classwise"] is None:
        spaces.append(attention["space"])
    if set(injections.values()) == {"none"}:
        return None
    return check_centre(centre, spaces)


def classwise_bank(attention: Mapping) -> PromptBank | None:
    """The bank whose domains' scores a displacement a class is weighted by."""
    classwise = attention["classwise"]
    if classwise is None:
        return None
    options = complete_options(classwise, {"bank": None}, "attention.classwise")
    if options["bank"] is None:
        raise ValueError("attention.classwise needs `bank`, the prompt bank of the samples' scores")
    return load_prompt_bank(options["bank"])
