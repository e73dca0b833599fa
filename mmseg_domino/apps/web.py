"""A local page to try a model on one's own images (the optional extra ``web``)."""

from typing import TYPE_CHECKING, Any

import numpy as np
from mmseg.models import BaseSegmentor

from ..reporting import DomainLine, annotate, overlay
from .inference import domains_of, predict_image

if TYPE_CHECKING:
    import gradio

__all__ = ["OWN_DOMAIN", "build_page", "compare_domains", "serve"]

#: The choice that leaves the domain to the model.
OWN_DOMAIN = "as the model sees it"


def compare_domains(
    model: BaseSegmentor, image: np.ndarray, choices: tuple[str, str], opacity: float
) -> tuple[list[np.ndarray], dict[str, float], str]:
    """Predict an image under two domains.

    Args:
        model: From :func:`~mmseg_domino.apps.inference.init_domino_model`.
        image: ``(H, W, 3)`` uint8 RGB.
        choices: Two domains, or :data:`OWN_DOMAIN`.
        opacity: Of the classes over the image, 0 to 1.

    Returns:
        Two annotated pictures; the scores (ratios) by domain of the model's own view; a sentence on
        how many pixels the domains make differ.
    """
    meta = model.dataset_meta
    own = predict_image(model, image)
    predictions = [
        own if choice == OWN_DOMAIN else predict_image(model, image, choice) for choice in choices
    ]
    pictures = []
    for prediction in predictions:
        line = DomainLine(own.domain_names, own.domain_scores, prediction.forced)
        mixed = overlay(image, prediction.labels, meta["palette"], opacity)
        pictures.append(annotate(mixed, prediction.labels, meta["classes"], meta["palette"], line))
    changed = float((predictions[0].labels != predictions[1].labels).mean())
    scores = dict(zip(own.domain_names, own.domain_scores, strict=True))
    return pictures, scores, f"{100 * changed:.2f} % of the pixels differ."


def build_page(model: BaseSegmentor) -> "gradio.Blocks":
    """The page: upload an image, choose two domains, see both predictions side by side.

    Raises:
        ImportError: If gradio is not installed; says how to install it.
        ValueError: If the model has no domain encoder.
    """
    try:
        import gradio
    except ImportError as error:
        raise ImportError(
            "the page needs gradio, an optional extra: pip install 'mmseg_domino[web]'"
        ) from error
    options = [OWN_DOMAIN, *domains_of(model)]

    def predict(image: np.ndarray | None, left: str, right: str, opacity: float) -> list[Any]:
        if image is None:
            raise gradio.Error("Choose an image first.")
        try:
            pictures, scores, sentence = compare_domains(model, image, (left, right), opacity)
        except ValueError as error:
            raise gradio.Error(str(error)) from error
        return [*pictures, scores, sentence]

    with gradio.Blocks(title="Domino", analytics_enabled=False) as page:
        gradio.Markdown("# Domino\nHow much does the domain change what the model sees?")
        with gradio.Row():
            image = gradio.Image(label="Image", type="numpy", image_mode="RGB", height=320)
            with gradio.Column():
                left = gradio.Dropdown(options, value=OWN_DOMAIN, label="Domain on the left")
                right = gradio.Dropdown(options, value=options[-1], label="Domain on the right")
                opacity = gradio.Slider(0, 1, 0.55, label="Opacity of the classes")
                button = gradio.Button("Predict", variant="primary")
                scores = gradio.Label(label="Domain scores")
        with gradio.Row():
            # A label would lie on the line about the domain.
            outputs = [
                gradio.Image(label=side, type="numpy", show_label=False)
                for side in ("Left", "Right")
            ]
        sentence = gradio.Markdown()
        button.click(predict, [image, left, right, opacity], [*outputs, scores, sentence])
    return page


def serve(model: BaseSegmentor, port: int) -> None:
    """Show the page on this machine until interrupted."""
    build_page(model).launch(server_name="127.0.0.1", server_port=port, share=False, inbrowser=True)
