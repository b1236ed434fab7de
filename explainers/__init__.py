"""The explainers, by name: strings only, so that listing them imports nothing."""

from __future__ import annotations

ENTRIES = {
    "gradcam": ("bench.explainers.gradcam:GRADCAM", "pytorch-grad-cam's GradCAM"),
    "captum": ("bench.explainers.captum_cam:CAPTUM", "Captum's LayerGradCam"),
}
