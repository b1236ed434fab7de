"""Models as users have them: no ResNets, no spec, built by a class or by a function."""

from torch import Tensor, nn

from bench.contracts import ModelSpec


class Two(nn.Module):
    """Two layers, `a` and `b`, and a head; the class count has a name of its own and a default."""

    def __init__(self, n_classes: int = 10) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU())
        self.head = nn.Linear(16, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, n_classes)."""
        logits: Tensor = self.head(self.b(self.a(x)).mean(dim=(2, 3)))
        return logits


class Fixed(nn.Module):
    """Takes grey images of 28x28 and nothing else, as nets for handwritten digits do."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 5, stride=3)
        self.fc = nn.Linear(4 * 8 * 8, k)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 28, 28) to (N, k)."""
        assert x.shape[1:] == (1, 28, 28)
        logits: Tensor = self.fc(self.conv(x).relu().flatten(1))
        return logits


def build(classes: int) -> nn.Module:
    return Two(classes)


def without_arguments() -> nn.Module:
    return Two()


def of_two(width: int, depth: int) -> nn.Module:
    return Two(width * depth)


def of_nothing(num_classes: int) -> str:
    return "no module"


def raising(num_classes: int) -> nn.Module:
    raise RuntimeError("out of order")


def pairs(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, num_classes, 3))


def sequence(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(2), nn.Conv1d(3, num_classes, 1), nn.AdaptiveAvgPool1d(1), nn.Flatten())


BUILT = Two()
NUMBER = 3
SPEC = ModelSpec(name="spec", build=Two, layers=("b",), source="tests")
