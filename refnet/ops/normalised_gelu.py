"""Batch normalisation followed by GELU in the memory of two tables: for its way back it keeps its input alone."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NormalisedGELU(torch.autograd.Function):
    """y = GELU(h),  h = γ ẑ + β,  ẑ = (z − μ) r,  r = 1 / √(σ² + ε),  with μ and σ² of each column of a group over its rows.

    z (groups, rows, c), γ, β (groups, c) → y (rows, groups, c); μ, σ² (groups, c)

    torch's two layers keep z and h, and make two more tables on their way back. Here a group's h is made again when it is needed.
    """

    @staticmethod
    def forward(ctx, z: Tensor, γ: Tensor, β: Tensor, ε: float) -> tuple[Tensor, Tensor, Tensor]:
        groups, rows, c = z.shape
        y, μ, σ2 = z.new_empty(rows, groups, c), torch.empty_like(γ), torch.empty_like(γ)
        one, other = torch.empty_like(z[0]), torch.empty_like(z[0])                     # (rows, c) each, for every group again
        for q in range(groups):
            μ[q] = z[q].mean(0)
            torch.sub(z[q], μ[q], out=one)
            σ2[q] = torch.mul(one, one, out=other).mean(0)
            torch.addcmul(β[q], one, γ[q] * (σ2[q] + ε).rsqrt(), out=one)               # h
            y[:, q] = torch.ops.aten.gelu.out(one, out=other)
        ctx.save_for_backward(z, γ, β, μ, σ2)
        ctx.ε = ε
        ctx.mark_non_differentiable(μ, σ2)
        return y, μ, σ2

    @staticmethod
    def backward(ctx, to_y: Tensor, *_) -> tuple[Tensor, Tensor, Tensor, None]:
        """∂h = ∂y · GELU'(h),  ∂β = Σ ∂h,  ∂γ = Σ ∂h ẑ,  ∂z = γ r (∂h − ∂β / rows − ẑ ∂γ / rows), written where ∂h was"""
        z, γ, β, μ, σ2 = ctx.saved_tensors
        r, rows = (σ2 + ctx.ε).rsqrt(), z.shape[1]
        a = γ * r                                                                       # (groups, c)   h = a z + β − a μ
        to_z = to_y.transpose(0, 1).clone(memory_format=torch.contiguous_format)        # (groups, rows, c)
        to_γ, to_β = torch.empty_like(γ), torch.empty_like(β)
        spare = torch.empty_like(z[0])                                                  # (rows, c), the one table beside to_z
        for q, to_h in enumerate(to_z):
            torch.addcmul(β[q] - a[q] * μ[q], z[q], a[q], out=spare)                    # h
            torch.ops.aten.gelu_backward.grad_input(to_h, spare, grad_input=to_h)       # ∂h
            to_β[q] = to_h.sum(0)
            to_γ[q] = r[q] * torch.sub(z[q], μ[q], out=spare).mul_(to_h).sum(0)
            slope = -a[q] * r[q] * to_γ[q] / rows                                       # ∂z = a ∂h + slope (z − μ) − a ∂β / rows
            torch.addcmul(-a[q] * to_β[q] / rows - slope * μ[q], z[q], slope, out=spare)
            torch.addcmul(spare, to_h, a[q], out=to_h)
        return to_z, to_γ, to_β, None


def normalised_gelu(z: Tensor, bn: nn.BatchNorm1d) -> Tensor:
    """GELU(bn(z)), groups side by side: z (groups, rows, c) → (rows, groups · c). bn keeps its running statistics as ever.

    torch's own layers run in evaluation, in mixed precision, and where bn is of another kind, such as synchronised over several processes.
    """
    groups, rows, c = z.shape
    plain = type(bn) is nn.BatchNorm1d and bn.affine and bn.track_running_stats and bn.momentum is not None
    if not (plain and bn.training and z.dtype == bn.weight.dtype and rows > 1):
        return F.gelu(bn(z.transpose(0, 1).flatten(1)))
    y, μ, σ2 = NormalisedGELU.apply(z, bn.weight.view(groups, c), bn.bias.view(groups, c), bn.eps)
    with torch.no_grad():
        bn.num_batches_tracked += 1
        bn.running_mean.lerp_(μ.flatten(), bn.momentum)
        bn.running_var.lerp_(σ2.flatten() * (rows / (rows - 1)), bn.momentum)           # the variance without bias, as torch keeps it
    return y.flatten(1)
