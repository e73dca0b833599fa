"""What Cityscapes-C consists of: 15 corruptions x 5 severities, for segmentation and detection."""

cityscapes_c_corruptions = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
cityscapes_c_severities = (1, 2, 3, 4, 5)
