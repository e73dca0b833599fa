"""EVA02-CLIP-L/14 (merged-2B) under Mask2Former's head, as VLTSeg builds it.

Four blocks put out one stride, that of a patch, and the head takes them as they are.
"""

_base_ = "./mask2former_dinov2-l.py"
model = dict(
    backbone=dict(
        model="eva02_large_patch14_clip_224.merged2b",
        weights="timm",  # or EVA02_CLIP_L_psz14_s4B.pt
        out_indices=(9, 14, 19, 23),
        scales=None,
        resampling="timm",
        options=dict(_delete_=True),
    ),
)
