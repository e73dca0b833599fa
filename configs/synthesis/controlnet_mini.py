"""The mini-ControlNet on the street world: the same code and colours as at full size.

    domino data mini
    domino synthesise configs/synthesis/controlnet_mini.py \
        --domains fog,night,rain,snow --out data/mini/synthetic
"""

_base_ = "./controlnet_cityscapes.py"

models = "data/mini/models"
train_dataloader = dict(dataset=dict(data_root="data/mini/cityscapes"))
synthesis = dict(
    generator=dict(
        model=f"{models}/mini-sd",
        controlnet=f"{models}/mini-controlnet",
        size=(128, 256),  # what it was trained on, most of all
        steps=20,
        guidance_scale=3.0,
        precision="fp32",
    ),
    gate=dict(encoder=dict(_delete_=True, model=f"local-dir:{models}/mini-clip")),
)
