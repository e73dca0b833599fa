_base_ = ["../_base_/models/upernet_vpd.py", "../_base_/domino_cityscapes_40k.py"]
# The text adapter starts untrained, too; the UNet alone is pretrained.
optim_wrapper = dict(paramwise_cfg=dict(lr_mult={"_delete_": True, "backbone.unet": 0.1}))
