"""A self-contained page of a :class:`~mmseg_domino.apps.analysis.DomainAnalysis`.

Shapes: ``M`` images, ``K`` domains.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from ..page import (
    Block,
    Card,
    Cards,
    Cell,
    Drawings,
    Gallery,
    Legend,
    Page,
    Pairs,
    Picture,
    Point,
    PointMap,
    Section,
    Table,
    Text,
    write_page,
)
from ..utils import write_text
from .analysis import DomainAnalysis, spread_out
from .analysis_figures import (
    UNKNOWN,
    Thumbnails,
    colour_of,
    domain_colours,
    draw_confusion,
    draw_map,
    draw_scores,
    verdict,
)


def write_analysis(
    analysis: DomainAnalysis,
    positions: Tensor,
    method: str,
    thumbnails: Thumbnails,
    folder: Path,
    title: str,
    provenance: Mapping,
    points: int = 1500,
    pictures: int = 300,
    extremes: int = 12,
) -> Path:
    """Write the figures (PNG), the numbers (JSON) and the page (HTML)."""
    colours, drawings = domain_colours(analysis), Drawings(folder)
    order = analysis.certainty().argsort(descending=True).tolist()
    strips = {"Most certain": order[:extremes], "Least certain": order[::-1][:extremes]}
    histograms = drawings.chart(
        "scores", "One panel a domain: how its score is spread over the images of each condition.",
        draw_scores(analysis, colours), draw_scores(analysis, colours, narrow=True),
    )  # fmt: skip
    drawings.save("map", draw_map(analysis, positions, method, thumbnails, colours))
    write_text(folder / "analysis.json", json.dumps(analysis.summary(), indent=1))
    shown = spread_out(positions, points)
    page = Page(
        title,
        [
            Section("overview", "", [_overview(analysis)]),
            Section("confusion", "Domain confusion", _confusion(analysis, drawings)),
            Section("mean-scores", "Mean scores", [
                Text("The softmax of the cosines between image and texts, at the temperature "
                     "used, averaged over a condition's images."),
                Table(["Condition", *analysis.domains],
                      [[c, *means] for c, means in analysis.mean_scores().items()], digits=3),
            ]),
            Section("histograms", "Score histograms", [histograms]),
            Section("map", "Map of the images", _map(
                analysis, positions, method, shown, thumbnails, colours, pictures
            )),
            *(_strip(analysis, name, chosen, thumbnails, colours)
              for name, chosen in strips.items()),
            Section("made", "Made with", _made(provenance)),
        ],
        "Domain embeddings",
        [f"How the prompt bank {provenance.get('bank', '(unknown)')} under "
         f"{provenance.get('model', 'an unknown model')} sees these images."],
    )  # fmt: skip
    return write_page(page, folder / "index.html")


def _overview(analysis: DomainAnalysis) -> Cards:
    accuracy = analysis.accuracy()
    cards = [
        Card(str(len(analysis.keys)), ["images"]),
        Card(str(len(analysis.domains)), ["domains"]),
    ]
    if accuracy:
        cards += [
            Card(f"{accuracy['all']:.1f}", ["of images right"], unit="%"),
            Card(f"{accuracy['mean']:.1f}", ["mean of conditions"], unit="%"),
        ]
    certainty = float(analysis.certainty().mean())
    return Cards([*cards, Card(f"{certainty:.2f}", ["mean certainty (0 to 1)"])], small=True)


def _confusion(analysis: DomainAnalysis, drawings: Drawings) -> list[Block]:
    if not analysis.known:
        return []
    accuracy = analysis.accuracy()
    rows: list[list[Cell]] = [
        [name, *counts, accuracy.get(name)]
        for name, counts in zip(analysis.known, analysis.confusion().tolist(), strict=True)
    ]
    unknown = sum(condition is None for condition in analysis.conditions)
    notes = [f"{unknown} images have no known condition and are left out."] if unknown else []
    chart = drawings.chart(
        "confusion", "Percent of the images of each true condition, read from the path.",
        draw_confusion(analysis), draw_confusion(analysis, narrow=True),
    )  # fmt: skip
    columns = ["Condition", *analysis.domains, "Right, %"]
    return [chart, Table(columns, rows, digits=1, notes=notes)]


def _map(
    analysis: DomainAnalysis,
    positions: Tensor,
    method: str,
    shown: Sequence[int],
    thumbnails: Thumbnails,
    colours: Mapping[str, str],
    pictures: int,
) -> list[Block]:
    points = [
        Point(
            float(positions[i, 0]), 1 - float(positions[i, 1]), colour_of(analysis, i, colours),
            analysis.keys[i], verdict(analysis, i),
            thumbnails.uri(analysis.keys[i]) if n < pictures else None,
        )
        for n, i in enumerate(shown)
    ]  # fmt: skip
    what = "true condition" if analysis.known else "likeliest domain"
    text = f"{method.upper()} of the image embeddings; point at a dot or picture for more."
    text += f" Coloured by the {what}."
    if len(points) < len(analysis.keys):
        text += f" Shows {len(points)} of {len(analysis.keys)} images, spread out."
    entries = [(name, colours[name]) for name in analysis.known or analysis.domains]
    if analysis.known and None in analysis.conditions:
        entries.append(("unknown", UNKNOWN))
    return [Text(text), Legend(entries), PointMap(points, "Map of the images")]


def _strip(
    analysis: DomainAnalysis,
    name: str,
    chosen: Sequence[int],
    thumbnails: Thumbnails,
    colours: Mapping[str, str],
) -> Section:
    certainty = analysis.certainty()
    explained = {
        "Most certain": "Certainty is one minus the entropy of the scores relative to the largest "
        "possible. The bar shows the scores in the order and colours of the domains.",
        "Least certain": "Where the bank's domains overlap, or the image belongs to none of them.",
    }
    cards = [
        Picture(
            thumbnails.uri(analysis.keys[i]),
            verdict(analysis, i),
            [f"certainty {certainty[i]:.2f}", analysis.keys[i]],
            bar=[(d, s, colours[d])
                 for d, s in zip(analysis.domains, analysis.scores[i].tolist(), strict=True)],
        )
        for i in chosen
    ]  # fmt: skip
    legend = Legend([(domain, colours[domain]) for domain in analysis.domains])
    blocks = [Text(explained[name]), legend, Gallery(cards, small=True)]
    return Section(name.lower().replace(" ", "-"), f"{name} images", blocks, name)


def _made(provenance: Mapping) -> list[Block]:
    names = ("model", "pretrained", "precision", "bank", "date", "weights_sha256", "bank_sha256")
    pairs = [(name, str(provenance[name])) for name in names if provenance.get(name)]
    pairs += [(name, str(version)) for name, version in (provenance.get("versions") or {}).items()]
    return [Pairs(pairs)] if pairs else []
