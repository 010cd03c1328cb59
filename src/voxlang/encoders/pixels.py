"""The units of SAM 2's input."""

PIXEL_MEAN, PIXEL_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of the colours that SAM 2 was trained on, red green blue. Source: sam2/utils/transforms.py."""
