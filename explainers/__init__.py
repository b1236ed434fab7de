"""The explainers, by name: strings only, so that listing them imports nothing."""

from __future__ import annotations

ENTRIES = {
    "gradcam": ("bench.explainers.gradcam:GRADCAM", "pytorch-grad-cam's GradCAM"),
    "captum": ("bench.explainers.captum_cam:CAPTUM", "Captum's LayerGradCam"),
    "reference": ("bench.explainers.reference:REFERENCE", "ours: Grad-CAM, exact and with the least work"),
    "gradcam_shipped": ("bench.explainers.shipped:GRADCAM_SHIPPED", "pytorch-grad-cam's finished picture, as it ships"),
    "captum_shipped": ("bench.explainers.shipped:CAPTUM_SHIPPED", "Captum's finished picture, as its visualiser ships"),
}
