"""Source only and domain-adaptive norms on CamVid, with and without nights by rule in training."""

base = "camvid_efficientnet.py"
_plain = dict(encode="none", backbone=dict(injection="none"))
conditions = {
    "source-only": dict(domino=dict(_plain, weather=None)),
    "adaptive": dict(domino=dict(weather=None)),
    "source-only-weather": dict(domino=_plain),
    "adaptive-weather": dict(),
}
