"""Miniature foundation models in the formats of the full-size ones.

The same loaders and the same code serve them: the diffusion model is a diffusers folder with the
blocks of Stable Diffusion 1.x, the CLIP an open_clip folder (``local-dir:PATH``). The diffusion
model's text encoder holds the weights of the CLIP's text tower, as in Stable Diffusion 1.x, so
class and domain embeddings of the one are in the space of the other's cross-attention.
"""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, UNet2DConditionModel
from open_clip.model import CLIP
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from street_world.cards import FOLDERS, TRAINED_FOLDER, are_present, expected_cards, write_card
from street_world.files import atomic_write
from street_world.tokenizer import TOKENIZER_FOLDER

CONTEXT_CHANNELS = 96  # D: width of the text tower and of the UNet's cross-attention
CONTEXT_LENGTH = 77
IMAGE_SIZE = 128


def load_tokenizer(folder: str | Path = TOKENIZER_FOLDER) -> CLIPTokenizer:
    """The miniature's tokenizer, from ``vocab.json`` and ``merges.txt`` in ``folder``."""
    folder = Path(folder)
    return CLIPTokenizer.from_pretrained(
        str(folder), model_max_length=CONTEXT_LENGTH, local_files_only=True
    )


def clip_config(vocab_size: int) -> dict:
    """The ``open_clip_config.json`` of the mini-CLIP: a 1.5 M parameter ViT and text tower."""
    return {
        "model_cfg": {
            "embed_dim": 64,
            "vision_cfg": {
                "image_size": IMAGE_SIZE,
                "layers": 4,
                "width": 128,
                "head_width": 32,
                "patch_size": 16,
            },
            "text_cfg": {
                "context_length": CONTEXT_LENGTH,
                "vocab_size": vocab_size,
                # Read by open_clip's tokenizer factory alone: with a local folder, any value
                # means the Hugging Face tokenizer files beside this config.
                "hf_tokenizer_name": "local",
                "width": CONTEXT_CHANNELS,
                "heads": 4,
                "layers": 3,
            },
        },
        "preprocess_cfg": {
            "mean": [0.48145466, 0.4578275, 0.40821073],
            "std": [0.26862954, 0.26130258, 0.27577711],
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }


def build_clip(vocab_size: int) -> CLIP:
    """A randomly initialised mini-CLIP, by the constructor open_clip's factory calls."""
    return CLIP(**clip_config(vocab_size)["model_cfg"])


def text_encoder_from_clip(clip: CLIP, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """The text tower of ``clip`` as the ``transformers`` model that diffusers expects.

    Its ``pooler_output`` is the last hidden state at the end-of-text token after the final norm
    and before the projection: the ``context`` space.
    """
    layers = len(clip.transformer.resblocks)
    config = CLIPTextConfig(
        vocab_size=clip.vocab_size,
        hidden_size=CONTEXT_CHANNELS,
        intermediate_size=4 * CONTEXT_CHANNELS,
        num_hidden_layers=layers,
        num_attention_heads=clip.transformer.resblocks[0].attn.num_heads,
        max_position_embeddings=CONTEXT_LENGTH,
        hidden_act="gelu",
        projection_dim=clip.text_projection.shape[1],
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = CLIPTextModel(config)
    ours = model.state_dict()
    prefix = "text_model." if any(key.startswith("text_model.") for key in ours) else ""
    state = {prefix + key: value for key, value in _text_state(clip, layers).items()}
    # Older transformers keep the position numbers as a buffer; they are no weights.
    state |= {key: ours[key] for key in ours if key.endswith("position_ids")}
    model.load_state_dict(state)
    return model.eval()


def _text_state(clip: CLIP, layers: int) -> dict[str, Tensor]:
    """The text tower's weights under the names of ``transformers``."""
    state = {
        "embeddings.token_embedding.weight": clip.token_embedding.weight,
        "embeddings.position_embedding.weight": clip.positional_embedding,
        "final_layer_norm.weight": clip.ln_final.weight,
        "final_layer_norm.bias": clip.ln_final.bias,
    }
    for index in range(layers):
        block, name = clip.transformer.resblocks[index], f"encoder.layers.{index}."
        for part in ("weight", "bias"):
            fused = getattr(block.attn, f"in_proj_{part}").chunk(3)
            for letter, value in zip("qkv", fused, strict=True):
                state[f"{name}self_attn.{letter}_proj.{part}"] = value
            state[f"{name}self_attn.out_proj.{part}"] = getattr(block.attn.out_proj, part)
            state[f"{name}layer_norm1.{part}"] = getattr(block.ln_1, part)
            state[f"{name}layer_norm2.{part}"] = getattr(block.ln_2, part)
            state[f"{name}mlp.fc1.{part}"] = getattr(block.mlp.c_fc, part)
            state[f"{name}mlp.fc2.{part}"] = getattr(block.mlp.c_proj, part)
    return {key: value.detach().clone() for key, value in state.items()}


def build_unet() -> UNet2DConditionModel:
    """A randomly initialised UNet with the blocks of Stable Diffusion 1.x and few channels."""
    return UNet2DConditionModel(
        sample_size=32,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        block_out_channels=(32, 48, 64, 64),
        layers_per_block=2,
        cross_attention_dim=CONTEXT_CHANNELS,
        # Heads: with 4, of 8 channels each, attention on a CPU takes six times as long.
        attention_head_dim=2,
        norm_num_groups=8,
    )


def build_vae() -> AutoencoderKL:
    """A randomly initialised autoencoder: 8 times smaller, 4 latent channels."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 32, 32),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=256,
        # The training gives latents mean 0 and deviation 1 by itself.
        scaling_factor=1.0,
    )


def build_controlnet(unet: UNet2DConditionModel) -> ControlNetModel:
    """A ControlNet for ``unet`` that starts as a copy of its encoder and changes nothing yet."""
    return ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16, 24, 32))


def build_scheduler() -> DDIMScheduler:
    """The noise schedule of Stable Diffusion, stretched to end in pure noise, for velocities.

    Without the stretch a little of the image's mean is left at the last step, and nights come out
    grey (Lin et al. 2024, "Common diffusion noise schedules and sample steps are flawed").
    """
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


def _write_tokenizer(folder: Path, tokenizer: CLIPTokenizer) -> None:
    """Write the tokenizer in the old and the new layout: each transformers reads one of them."""
    tokenizer.save_pretrained(folder)
    for name in ("vocab.json", "merges.txt"):
        with atomic_write(folder / name) as path:
            path.write_bytes((TOKENIZER_FOLDER / name).read_bytes())


def write_clip(folder: Path, clip: CLIP, tokenizer: CLIPTokenizer) -> None:
    """Write an open_clip folder, to be opened as ``local-dir:FOLDER``."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(folder, tokenizer)
    with atomic_write(folder / "open_clip_model.safetensors") as path:
        state = {key: value.detach().contiguous() for key, value in clip.state_dict().items()}
        save_file(state, path)
    with atomic_write(folder / "open_clip_config.json") as path:
        path.write_text(json.dumps(clip_config(clip.vocab_size), indent=2) + "\n")


def write_sd(
    folder: Path,
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
) -> None:
    """Write a diffusers folder with the layout of Stable Diffusion 1.x."""
    vae.save_pretrained(folder / "vae", safe_serialization=True)
    unet.save_pretrained(folder / "unet", safe_serialization=True)
    text_encoder.save_pretrained(folder / "text_encoder", safe_serialization=True)
    _write_tokenizer(folder / "tokenizer", tokenizer)
    build_scheduler().save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    with atomic_write(folder / "model_index.json") as path:
        path.write_text(json.dumps(index, indent=2) + "\n")


def load_trained_clip() -> CLIP:
    """The mini-CLIP that comes with the package, in float32."""
    with torch.random.fork_rng(devices=[]):
        clip = build_clip(len(load_tokenizer()))
    weights = TRAINED_FOLDER / FOLDERS["clip"] / "open_clip_model.safetensors"
    clip.load_state_dict(load_file(weights))
    return clip.eval()


def load_trained_sd() -> tuple[AutoencoderKL, UNet2DConditionModel]:
    """The mini-SD's autoencoder and UNet that come with the package, in float32."""
    folder = TRAINED_FOLDER / FOLDERS["sd"]
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae")
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet")
    return vae.float().eval(), unet.float().eval()


def load_trained_controlnet() -> ControlNetModel:
    """The mini-ControlNet that comes with the package, in float32."""
    return ControlNetModel.from_pretrained(TRAINED_FOLDER / FOLDERS["controlnet"]).float().eval()


def build_mini_models(root: str | Path, seed: int = 0, trained: bool = True) -> dict[str, Path]:
    """Write the miniature models, in float32, unless they are there already.

    The caller's random state is left as it was; the same arguments give the same bytes. The
    ``weights`` entry of each folder's ``model_card.json`` says what they are.

    Args:
        root: Folder that receives ``mini-clip``, ``mini-sd`` and ``mini-controlnet``.
        seed: Seed of random weights.
        trained: Give the mini-SD and the mini-ControlNet the weights that come with the package,
            not random ones. The CLIP is always the trained one.

    Returns:
        ``{"clip": PATH, "sd": PATH, "controlnet": PATH}``; with random weights, no ControlNet.
    """
    cards = expected_cards(seed, trained)
    folders = {key: Path(root) / FOLDERS[key] for key in cards}
    if are_present(Path(root), seed, trained):
        return folders
    for folder in folders.values():  # a folder without its card is not finished
        (folder / "model_card.json").unlink(missing_ok=True)
    tokenizer, clip = load_tokenizer(), load_trained_clip()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text_encoder = text_encoder_from_clip(clip, tokenizer)
        vae, unet = load_trained_sd() if trained else (build_vae(), build_unet())
        if "controlnet" in cards:
            controlnet = load_trained_controlnet()
            controlnet.save_pretrained(folders["controlnet"], safe_serialization=True)
    write_clip(folders["clip"], clip, tokenizer)
    write_sd(folders["sd"], vae, unet, text_encoder, tokenizer)
    for key, card in cards.items():
        write_card(folders[key], card)
    return folders
