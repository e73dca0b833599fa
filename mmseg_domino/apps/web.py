"""A local page to try a model on one's own images (the optional extra ``web``).

It is for this machine only. A browser that shows another page can send requests here, too, so each
request is checked: its host (a name that another page has pointed at this machine), its origin and
its size. Images are measured before they are decoded.
"""

import threading
import webbrowser
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from mmseg.models import BaseSegmentor
from PIL import Image

from ..reporting import DomainLine, annotate, overlay
from ..utils.images import read_image
from .inference import domains_of, predict_image

if TYPE_CHECKING:
    import fastapi
    import gradio

#: The choice that leaves the domain to the model.
OWN_DOMAIN = "as the model sees it"
#: Of an upload.
MAX_BYTES = 20 * 2**20
#: Of an image, before it is decoded: 25 KiB can hold gigabytes of one colour.
MAX_PIXELS = 40_000_000
#: What is predicted. The windows of a sliding model grow with the pixels, and up to three
#: predictions are made: 3000 x 3000 pixels were 900 windows of the miniature model.
SHOWN_PIXELS = 2048 * 1024

_INSTALL = "the page needs gradio, an optional extra: pip install 'mmseg_domino[web]'"


def read_upload(path: str | Path) -> tuple[np.ndarray, float]:
    """Read an image of unknown origin, at most :data:`SHOWN_PIXELS` of it.

    Returns:
        ``(H, W, 3)`` uint8 RGB, and the factor by which height and width were reduced (1 or less).
    """
    try:
        with Image.open(path) as header:
            width, height = header.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"this is no image that can be read: {error}") from error
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"the image has {width} x {height} pixels; the page takes up to {MAX_PIXELS // 10**6} "
            "million. Use domino segment for it."
        )
    image = read_image(path)
    scale = min(1.0, (SHOWN_PIXELS / (image.shape[0] * image.shape[1])) ** 0.5)
    if scale < 1:
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image), scale


def compare_domains(
    model: BaseSegmentor, image: np.ndarray, choices: tuple[str, str], opacity: float
) -> tuple[list[np.ndarray], dict[str, float], str]:
    """Predict an image ``(H, W, 3)``, uint8 RGB, under two domains, or :data:`OWN_DOMAIN`.

    Returns:
        Two annotated pictures; the scores (ratios) by domain of the model's own view; a sentence on
        how many pixels the domains make differ.
    """
    meta = model.dataset_meta
    own = predict_image(model, image)
    made = {OWN_DOMAIN: own}
    for choice in choices:
        if choice not in made:
            made[choice] = predict_image(model, image, choice)
    predictions = [made[choice] for choice in choices]
    pictures = []
    for prediction in predictions:
        line = DomainLine(own.domain_names, own.domain_scores, prediction.forced)
        mixed = overlay(image, prediction.labels, meta["palette"], opacity)
        pictures.append(annotate(mixed, prediction.labels, meta["classes"], meta["palette"], line))
    changed = float((predictions[0].labels != predictions[1].labels).mean())
    scores = dict(zip(own.domain_names, own.domain_scores, strict=True))
    return pictures, scores, f"{100 * changed:.2f} % of the pixels differ."


def build_page(model: BaseSegmentor) -> "gradio.Blocks":
    """The page: upload an image, choose two domains, see both predictions side by side."""
    try:
        import gradio
    except ImportError as error:
        raise ImportError(_INSTALL) from error
    options = [OWN_DOMAIN, *domains_of(model)]

    def predict(upload: str | None, left: str, right: str, opacity: float) -> list[Any]:
        if upload is None:
            raise gradio.Error("Choose an image first.")
        try:
            image, scale = read_upload(upload)
            pictures, scores, sentence = compare_domains(model, image, (left, right), opacity)
        except ValueError as error:
            raise gradio.Error(str(error)) from error
        if scale < 1:
            sentence += f" The image was reduced to {100 * scale:.0f} % of its width and height."
        return [*pictures, scores, sentence]

    with gradio.Blocks(title="Domino", analytics_enabled=False) as page:
        gradio.Markdown("# Domino\nHow much does the domain change what the model sees?")
        with gradio.Row():
            # As a file, which read_upload measures before anything decodes it.
            image = gradio.Image(
                label="Image", type="filepath", image_mode=None, height=320, sources=["upload"]
            )
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


class LocalRequests:
    """ASGI middleware that lets through what the page itself sends to this machine."""

    def __init__(self, app: Callable, port: int, max_bytes: int = MAX_BYTES) -> None:
        self.app, self.max_bytes = app, max_bytes
        self.hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    async def __call__(self, scope: Mapping, receive: Callable, send: Callable) -> None:
        refusal = self._refusal(scope) if scope["type"] in ("http", "websocket") else None
        if refusal is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await _answer(send, *refusal)

    def _refusal(self, scope: Mapping) -> tuple[int, str] | None:
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        if headers.get("host") not in self.hosts:
            return 421, "this page is for the machine it runs on"
        origin = headers.get("origin")
        if origin is not None and origin.removeprefix("http://") not in self.hosts:
            return 403, f"requests of other pages are refused, and this one is of {origin}"
        if scope.get("method") in ("POST", "PUT", "PATCH"):
            length = headers.get("content-length", "")
            if not length.isdigit():
                return 411, "the length of the request is missing"
            if int(length) > self.max_bytes:
                return 413, f"at most {self.max_bytes // 2**20} MiB can be sent"
        return None


async def _answer(send: Callable[[dict], Awaitable], status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


def build_app(model: BaseSegmentor, port: int) -> "fastapi.FastAPI":
    """The page as an application that answers this machine only."""
    page = build_page(model)
    import fastapi
    import gradio

    app = fastapi.FastAPI(openapi_url=None)
    # Fonts of this machine: nothing is fetched.
    theme = gradio.themes.Default(font=["sans-serif"], font_mono=["monospace"])
    app = gradio.mount_gradio_app(
        app, page, "/", server_name="127.0.0.1", server_port=port, max_file_size=MAX_BYTES,
        ssr_mode=False, theme=theme,
    )  # fmt: skip
    app.add_middleware(LocalRequests, port=port)
    return app


def serve(model: BaseSegmentor, port: int) -> None:
    """Show the page on this machine until interrupted."""
    app = build_app(model, port)
    import uvicorn

    address = f"http://127.0.0.1:{port}"
    print(f"{address} (Ctrl-C ends it)", flush=True)
    timer = threading.Timer(2, webbrowser.open, [address])
    timer.daemon = True
    timer.start()
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
