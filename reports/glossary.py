"""What the words of a page mean: one or two plain sentences each."""

from collections.abc import Mapping
from types import MappingProxyType

# Terms as they stand on pages, in lower case and sorted. Plurals and other forms are for the page to find.
GLOSSARY: Mapping[str, str] = MappingProxyType(
    {
        "95 % interval": (
            "A range for the true value. If the test images were drawn anew many times, about 95 of 100 ranges made "
            "like this would contain it."
        ),
        "accuracy": "The share of the test images for which the model's answer is the true class.",
        "baseline": (
            "What the others are compared with: for speeds a model or explainer; for maps a simple picture that was "
            "made without any model."
        ),
        "class-discriminative": (
            "A map is class-discriminative if it changes with the class that is asked for: the maps of two classes of "
            "one image differ."
        ),
        "completeness": (
            "Some explainers promise that the values of a map add up to a change of the logit. Complete means that "
            "they do."
        ),
        "confidence": "The probability that the model gives to its own answer.",
        "confusion": (
            "A table of true classes (rows) and the model's answers (columns). Numbers off the diagonal are errors."
        ),
        "dead map": (
            "A map without any positive value. It has no picture: by this method nothing here speaks for the class."
        ),
        "deletion": (
            "Regions of an image are hidden, those that the map marks most first. The faster the probability falls, "
            "the better the map."
        ),
        "expected calibration error": (
            "How far the confidence lies from the share of right answers, on average over all test images. 0 would be "
            "perfect."
        ),
        "explainer": "A method that says which parts of an image speak for a class, such as Grad-CAM.",
        "faithful": "A map is faithful if it shows what the model uses: hiding what it marks changes the answer.",
        "finished picture": (
            "The picture as a library draws it for its users, scaled and enlarged in the library's own way."
        ),
        "float64": "Numbers with about 16 digits. In fp32, the usual format, there are about 7.",
        "grad-cam": (
            "An explainer: the channels of a layer are added up, each weighted by the mean gradient of the logit in it."
        ),
        "holm correction": (
            "Among many comparisons some differ by chance alone. This correction keeps the chance of any false claim "
            "at 5 % or less."
        ),
        "images/s": "How many images a second are worked on. More is faster.",
        "insertion": (
            "The opposite of deletion: regions are added to an empty image, those that the map marks most first. A "
            "good map makes the probability rise fast."
        ),
        "layer": (
            "A step of the network, named as in its code. Early layers have fine grids, late ones see the whole image."
        ),
        "learning curve": "Loss or accuracy after each epoch. An epoch is one pass over all training images.",
        "logit": "The number that the network gives to a class before it is turned into a probability.",
        "loss": (
            "What training makes small, here the cross entropy: minus the logarithm of the true class's probability."
        ),
        "map": "One value for each position of the image or of a layer's grid: how much it speaks for a class.",
        "margin": "How sure an answer is: the largest probability minus the second largest.",
        "mcnemar test": (
            "Compares two runs on the same images. It counts only images that one got right and the other wrong."
        ),
        "mirror average": "The model answers for an image and for its mirror image, and the mean of the two counts.",
        "mosaic": "Four images in one picture. The map for a class should mark the image of that class.",
        "no evidence": (
            "The test found nothing that is clearly larger than chance. It does not prove that there is nothing."
        ),
        "p": (
            "How often chance alone would give a difference this large or larger. Small values, such as 0.01, speak "
            "against chance."
        ),
        "paired difference": (
            "Two runs are compared on the same images, or two speeds in the same round, so that what both share drops "
            "out."
        ),
        "patch": "A square part of the image that is hidden to see how the answer changes.",
        "precision": "Of the images that were given this answer, the share that really are of the class.",
        "randomisation": (
            "The weights are put into random order. A map that hardly changes does not depend on what the model has "
            "learned."
        ),
        "rank correlation": (
            "Whether two maps put their positions into the same order: 1 is the same order, 0 is none in common, -1 "
            "is reversed."
        ),
        "raw map": "The map as the method gives it, with its sign and units, before it is scaled or coloured.",
        "recall": "Of the images of a class, the share that the model recognised.",
        "relu": "Negative values become 0, so that only what speaks for the class is seen.",
        "rounds in turns": (
            "The speeds of several things are measured one after the other, again and again, so that a slower moment "
            "of the machine meets all."
        ),
        "rounds not independent": (
            "Each round resembles the one before (the times are autocorrelated), so many rounds say no more than a "
            "few. Nothing is claimed."
        ),
        "same class": (
            "The same figure for maps of other images of the class, called the class null. Only what is clearly above "
            "it counts as evidence."
        ),
        "seed": "The number from which all random choices of a training start. Another seed gives other weights.",
        "signed": "Values below 0 are kept: they speak against the class.",
        "spread": (
            "How much single rounds differ: the range of their middle half, divided by the median. Large values mean "
            "a disturbed machine."
        ),
        "sticker": "A small mark put into images. One network is taught to decide by it, a second one to ignore it.",
        "verdict": "Whether an explainer computes what it claims, found by comparing it with Grad-CAM in float64.",
    }
)
