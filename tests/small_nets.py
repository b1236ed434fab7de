"""Small nets of the kinds that people write by hand, whose layers give anything but (N, C, h, w). 32x32 pixels."""

# mypy: disable-error-code="no-any-return"

import torch
from torch import Tensor, nn
from torch.nn import functional


class Permute(nn.Module):
    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(*self.order)


class Attention(nn.Module):
    """With its softmax a module, so that a layer gives heads x tokens x tokens."""

    def __init__(self, dim: int, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.attend = nn.Softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        weights = self.attend(q @ k.transpose(-2, -1) / (d // self.heads) ** 0.5)
        mixed: Tensor = self.out((weights @ v).transpose(1, 2).reshape(n, t, d))
        return mixed


class Block(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim), Attention(dim)
        self.norm2, self.mlp = (
            nn.LayerNorm(dim),
            nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim)),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Patches cut and embedded by a linear layer; positions are fixed, so no other size of picture goes through.

    Args:
        extra: tokens that are no patches; the first is read. None: the mean over patches is.
        at_end: where these stand.
        pair: blocks give a tuple.
    """

    patch = 8

    def __init__(self, classes: int = 5, extra: int = 1, at_end: bool = False, dim: int = 16) -> None:
        super().__init__()
        self.extra, self.at_end = extra, at_end
        self.embed = nn.Linear(3 * self.patch**2, dim)
        self.tokens = nn.Parameter(torch.randn(1, extra, dim))
        self.positions = nn.Parameter(0.1 * torch.randn(1, 16 + extra, dim))
        self.blocks = nn.ModuleList(Block(dim) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(functional.unfold(x, self.patch, stride=self.patch).transpose(1, 2))
        extra = self.tokens.expand(len(x), -1, -1)
        x = torch.cat([x, extra] if self.at_end else [extra, x], dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.head(x[:, 16 if self.at_end else 0] if self.extra else x.mean(1))


class Swin(nn.Module):
    """(N, h, w, C) between stages and (N, T, C) inside; the grid is halved by putting four positions into one."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Conv2d(3, 8, 4, 4), Permute(0, 2, 3, 1), nn.LayerNorm(8))
        self.stages = nn.Sequential(WindowStage(8), Merge(8), WindowStage(16))
        self.head = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(self.embed(x)).mean((1, 2)))


class WindowStage(nn.Module):
    """Attention within windows of 2x2 positions."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.block = Block(dim)

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        windows = x.view(n, h // 2, 2, w // 2, 2, c).transpose(2, 3).reshape(-1, 4, c)
        return self.block(windows).view(n, h // 2, w // 2, 2, 2, c).transpose(2, 3).reshape(n, h, w, c)


class Merge(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm, self.reduce = nn.LayerNorm(4 * dim), nn.Linear(4 * dim, 2 * dim)

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        four = x.view(n, h // 2, 2, w // 2, 2, c).transpose(2, 3).reshape(n, h // 2, w // 2, 4 * c)
        return self.reduce(self.norm(four))


class ConvNext(nn.Module):
    """(N, C, h, w) between blocks, (N, h, w, C) inside."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.stages = nn.ModuleList([nn.Sequential(InnerLast(8)), nn.Sequential(nn.Conv2d(8, 12, 2, 2), InnerLast(12))])
        self.head = nn.Linear(12, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.head(x.mean((2, 3)))


class InnerLast(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(dim, dim, 7, padding=3, groups=dim), nn.LayerNorm(dim)
        self.wide, self.act, self.narrow = nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        y = self.narrow(self.act(self.wide(self.norm(self.conv(x).permute(0, 2, 3, 1)))))
        return x + y.permute(0, 3, 1, 2)


class Mixer(nn.Module):
    """Tokens (N, T, C), and (N, C, T) where positions are mixed, which fixes the size; residuals in its own forward."""

    def __init__(self, classes: int = 5, dim: int = 24) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 8, 8)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(4))
        self.mixes = nn.ModuleList([nn.Linear(16, 16), nn.Linear(dim, dim), nn.Linear(16, 16), nn.Linear(dim, dim)])
        self.head = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        for place, (norm, mix) in enumerate(zip(self.norms, self.mixes, strict=True)):
            y = functional.gelu(norm(x))
            x = x + (mix(y) if place % 2 else mix(y.transpose(1, 2)).transpose(1, 2))
        return self.head(x.mean(1))


class SequenceFirst(nn.Module):
    """PyTorch's own encoder as it is by default: (T, N, C), norms behind the sums; blocks answer with a tensor."""

    def __init__(self, classes: int = 5, dim: int = 16) -> None:
        super().__init__()
        self.embed, self.token = nn.Conv2d(3, dim, 8, 8), nn.Parameter(torch.randn(1, 1, dim))
        layer = nn.TransformerEncoderLayer(dim, 4, 2 * dim, dropout=0.0)
        self.encoder, self.head = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False), nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).permute(2, 0, 1)
        x = torch.cat([self.token.expand(-1, x.shape[1], -1), x])
        return self.head(self.encoder(x)[0])


class Pairs(nn.Module):
    """Stages answer with the tokens and the size of their grid."""

    def __init__(self, classes: int = 5, dim: int = 16) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 8, 8)
        self.first, self.second, self.head = PairStage(dim), PairStage(dim), nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        tokens, size = self.first(x.flatten(2).transpose(1, 2), x.shape[2:])
        return self.head(self.second(tokens, size)[0].mean(1))


class PairStage(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.block = Block(dim)

    def forward(self, x: Tensor, size: torch.Size) -> tuple[Tensor, torch.Size]:
        return self.block(x), size
