"""The explainers, by name: strings only, so that listing them imports nothing.

ENTRIES are values, one a name; LIBRARIES are mappings of the classes of a library, each with the module whose
`__init__` names them.
"""

ENTRIES = {
    "gradcam": ("bench.explainers.gradcam:GRADCAM", "pytorch-grad-cam's GradCAM"),
    "captum": ("bench.explainers.captum_cam:CAPTUM", "Captum's LayerGradCam"),
    "reference": ("bench.explainers.reference:REFERENCE", "ours: Grad-CAM, exact and with the least work"),
    "gradcam_shipped": ("bench.explainers.shipped:GRADCAM_SHIPPED", "pytorch-grad-cam's finished picture, as it ships"),
    "captum_shipped": ("bench.explainers.shipped:CAPTUM_SHIPPED", "Captum's finished picture, as its visualiser ships"),
    "gradcam++": ("bench.explainers.cams:GRADCAM_PLUS_PLUS", "pytorch-grad-cam's GradCAM++"),
    "hirescam": ("bench.explainers.cams:HIRESCAM", "pytorch-grad-cam's HiResCAM"),
    "xgradcam": ("bench.explainers.cams:XGRADCAM", "pytorch-grad-cam's XGradCAM"),
    "layercam": ("bench.explainers.cams:LAYERCAM", "pytorch-grad-cam's LayerCAM"),
    "eigencam": ("bench.explainers.cams:EIGENCAM", "pytorch-grad-cam's EigenCAM, which knows no class"),
    "scorecam": ("bench.explainers.perturbing:SCORECAM", "pytorch-grad-cam's ScoreCAM: a forward pass a channel"),
    "ablationcam": (
        "bench.explainers.perturbing:ABLATIONCAM",
        "pytorch-grad-cam's AblationCAM, but for the sign where a logit is negative: a forward pass a channel",
    ),
    "guided_gradcam": ("bench.explainers.captum_inputs:GUIDED_GRADCAM", "Captum's GuidedGradCam, in pixels, by layer"),
    "saliency": ("bench.explainers.captum_inputs:SALIENCY", "Captum's Saliency, in pixels"),
    "input_x_gradient": ("bench.explainers.captum_inputs:INPUT_X_GRADIENT", "Captum's InputXGradient, in pixels"),
    "integrated_gradients": (
        "bench.explainers.captum_inputs:INTEGRATED_GRADIENTS",
        "Captum's IntegratedGradients, in pixels: 50 steps",
    ),
    "deeplift": ("bench.explainers.captum_inputs:DEEPLIFT", "Captum's DeepLift, in pixels"),
    "gradient_shap": ("bench.explainers.captum_inputs:GRADIENT_SHAP", "Captum's GradientShap, in pixels: 20 samples"),
    "smoothgrad": (
        "bench.explainers.captum_inputs:SMOOTHGRAD",
        "Captum's NoiseTunnel of Saliency, in pixels: 20 noisy copies",
    ),
    "smoothgrad_ig": (
        "bench.explainers.captum_inputs:SMOOTHGRAD_IG",
        "Captum's NoiseTunnel of IntegratedGradients, in pixels: 10 noisy copies, 10 steps",
    ),
    "lrp": ("bench.explainers.relevance:LRP", "zennit's LRP, epsilon-plus, in pixels: pip install 'cambench[lrp]'"),
    "occlusion": ("bench.explainers.perturbing:OCCLUSION", "Captum's Occlusion, in pixels: 4x4 patches"),
    "kernel_shap": ("bench.explainers.perturbing:KERNEL_SHAP", "Captum's KernelShap, in pixels: 8x8 squares"),
    "rise": ("bench.explainers.perturbing:RISE", "ours: RISE, in pixels: 200 random masks"),
}
LIBRARIES = {
    "captum": (
        "bench.explainers.any_captum:CAPTUM",
        "any class that attributes, by its name there",
        "captum.attr",
    ),
    "pytorch_grad_cam": (
        "bench.explainers.any_gradcam:GRADCAMS",
        "any class that takes layers, by its name there",
        "pytorch_grad_cam",
    ),
}
