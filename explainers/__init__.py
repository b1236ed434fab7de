"""The explainers, by name: strings only, so that listing them imports nothing.

ENTRIES are values, one a name; LIBRARIES are mappings of the classes of a library, each with the module whose
`__init__` names them. FACTS say what `bench list explainers` tells of each name.
"""

ENTRIES = {
    "gradcam": ("bench.explainers.gradcam:GRADCAM", "GradCAM"),
    "captum": ("bench.explainers.captum_cam:CAPTUM", "LayerGradCam"),
    "reference": ("bench.explainers.reference:REFERENCE", "Grad-CAM, exact and with the least work"),
    "gradcam_shipped": ("bench.explainers.shipped:GRADCAM_SHIPPED", "GradCAM: the picture that the library draws"),
    "captum_shipped": (
        "bench.explainers.shipped:CAPTUM_SHIPPED",
        "LayerGradCam: the picture that the library's visualiser draws",
    ),
    "gradcam++": ("bench.explainers.cams:GRADCAM_PLUS_PLUS", "GradCAMPlusPlus"),
    "hirescam": ("bench.explainers.cams:HIRESCAM", "HiResCAM"),
    "xgradcam": ("bench.explainers.cams:XGRADCAM", "XGradCAM"),
    "layercam": ("bench.explainers.cams:LAYERCAM", "LayerCAM"),
    "eigencam": ("bench.explainers.cams:EIGENCAM", "EigenCAM: the same map for every class"),
    "scorecam": ("bench.explainers.perturbing:SCORECAM", "ScoreCAM: one forward pass for each channel"),
    "ablationcam": (
        "bench.explainers.perturbing:ABLATIONCAM",
        "AblationCAM, with the sign reversed where a logit is negative: one forward pass for each channel",
    ),
    "guided_gradcam": ("bench.explainers.captum_inputs:GUIDED_GRADCAM", "GuidedGradCam"),
    "saliency": ("bench.explainers.captum_inputs:SALIENCY", "Saliency"),
    "input_x_gradient": ("bench.explainers.captum_inputs:INPUT_X_GRADIENT", "InputXGradient"),
    "integrated_gradients": ("bench.explainers.captum_inputs:INTEGRATED_GRADIENTS", "IntegratedGradients, 50 steps"),
    "deeplift": ("bench.explainers.captum_inputs:DEEPLIFT", "DeepLift"),
    "gradient_shap": ("bench.explainers.captum_inputs:GRADIENT_SHAP", "GradientShap, 20 samples"),
    "smoothgrad": ("bench.explainers.captum_inputs:SMOOTHGRAD", "NoiseTunnel of Saliency, 20 noisy copies"),
    "smoothgrad_ig": (
        "bench.explainers.captum_inputs:SMOOTHGRAD_IG",
        "NoiseTunnel of IntegratedGradients, 10 noisy copies of 10 steps",
    ),
    "lrp": ("bench.explainers.relevance:LRP", "LRP, epsilon-plus; needs pip install 'cambench[lrp]'"),
    "occlusion": ("bench.explainers.perturbing:OCCLUSION", "Occlusion of 4x4 patches"),
    "kernel_shap": ("bench.explainers.perturbing:KERNEL_SHAP", "KernelShap over 8x8 squares"),
    "rise": ("bench.explainers.perturbing:RISE", "RISE with 200 random masks"),
}
LIBRARIES = {
    "captum": (
        "bench.explainers.any_captum:CAPTUM",
        "any attribution class of Captum, by its name there",
        "captum.attr",
    ),
    "pytorch_grad_cam": (
        "bench.explainers.any_gradcam:GRADCAMS",
        "any class of pytorch-grad-cam that takes layers, by its name there",
        "pytorch_grad_cam",
    ),
}
CAM, GRADIENT, PERTURBATION = "CAM", "gradient", "perturbation"
GRAD_CAM, CAPTUM, ZENNIT, OURS = "pytorch-grad-cam", "Captum", "zennit", "ours"
FACTS = {  # kind, library, what comes back, forward passes for one image and class at layer3 of a ResNet18, marks
    "gradcam": (CAM, GRAD_CAM, "grid", "2", "signed"),
    "captum": (CAM, CAPTUM, "grid", "2", "signed"),
    "reference": (CAM, OURS, "grid", "2", "signed"),
    "gradcam_shipped": (CAM, GRAD_CAM, "picture", "3", ""),
    "captum_shipped": (CAM, CAPTUM, "picture", "2", ""),
    "gradcam++": (CAM, GRAD_CAM, "grid", "2", ""),
    "hirescam": (CAM, GRAD_CAM, "grid", "2", "signed"),
    "xgradcam": (CAM, GRAD_CAM, "grid", "2", "signed"),
    "layercam": (CAM, GRAD_CAM, "grid", "2", ""),
    "eigencam": (CAM, GRAD_CAM, "grid", "1", "signed, no class"),
    "guided_gradcam": (CAM, CAPTUM, "pixels", "4", "signed, by layer"),
    "saliency": (GRADIENT, CAPTUM, "pixels", "2", ""),
    "input_x_gradient": (GRADIENT, CAPTUM, "pixels", "2", "signed"),
    "integrated_gradients": (GRADIENT, CAPTUM, "pixels", "100", "signed, adds up"),
    "deeplift": (GRADIENT, CAPTUM, "pixels", "4", "signed, adds up"),
    "gradient_shap": (GRADIENT, CAPTUM, "pixels", "40", "signed, adds up, random"),
    "smoothgrad": (GRADIENT, CAPTUM, "pixels", "40", "random"),
    "smoothgrad_ig": (GRADIENT, CAPTUM, "pixels", "200", "signed, random"),
    "lrp": (GRADIENT, ZENNIT, "pixels", "6", "signed"),
    "scorecam": (PERTURBATION, GRAD_CAM, "grid", "258", ""),
    "ablationcam": (PERTURBATION, GRAD_CAM, "grid", "258", "signed"),
    "occlusion": (PERTURBATION, CAPTUM, "pixels", "65", "signed"),
    "kernel_shap": (PERTURBATION, CAPTUM, "pixels", "190", "signed, random"),
    "rise": (PERTURBATION, OURS, "pixels", "200", "random"),
}
