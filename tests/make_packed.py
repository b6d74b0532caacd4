#!/usr/bin/env python3
"""make_packed.py DIR - write tests/data/packed: small weights packed by other programs, and what they read from them.

Needs torch, safetensors, compressed-tensors, bitsandbytes and mlx; run by hand when a case is added. CASE.safetensors has the
packed parts of a module m and m.expected, its values. GPTQ and AWQ are packed here, in the layout of GPTQModel and
AutoAWQ, whose kernels need a GPU; their values are (code - zero) * scale.
"""
import sys
import numpy as np
import torch
from safetensors.torch import save_file

OUT, ROWS, COLS = sys.argv[1], 40, 160
rng = np.random.default_rng(20261128)


def weight(rows=ROWS, cols=COLS):
    return torch.tensor(rng.standard_normal((rows, cols)) * 0.05, dtype=torch.float32)


def save(case, tensors, expected):
    tensors = {"m." + k: v.contiguous() for k, v in tensors.items()}
    tensors["m.expected"] = expected.contiguous()
    save_file(tensors, "%s/%s.safetensors" % (OUT, case))


def stream(codes, bits):
    """Codes along the last axis as 32-bit words, the lowest bits first."""
    flat = (codes[..., None] >> np.arange(bits)) & 1
    flat = flat.reshape(*codes.shape[:-1], -1).astype(np.uint8)
    pad = -flat.shape[-1] % 32
    flat = np.pad(flat, [(0, 0)] * (flat.ndim - 1) + [(0, pad)])
    return np.packbits(flat, axis=-1, bitorder="little").view(np.int32)


def across(codes):
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    c = codes.reshape(codes.shape[0], -1, 8)[:, :, order].astype(np.uint32)
    return np.bitwise_or.reduce(c << (4 * np.arange(8, dtype=np.uint32)), axis=-1).view(np.int32)


def gptq(case, bits, group, mixed=False, v2=False, sym=False, no_order=False):
    ngroups = (COLS + group - 1) // group
    codes = rng.integers(0, 1 << bits, (COLS, ROWS))
    zeros = rng.integers(0 if v2 else 1, (1 << bits) + (0 if v2 else 1), (ngroups, ROWS))
    if sym:
        zeros[:] = 1 << (bits - 1)
    scales = (rng.random((ngroups, ROWS)) * 0.02 + 0.001).astype(np.float16)
    g_idx = np.arange(COLS) // group
    if mixed:
        g_idx = rng.permutation(g_idx)
    t = {"qweight": torch.tensor(stream(codes.T, bits).T.copy()), "qzeros": torch.tensor(stream(zeros - (not v2), bits)),
         "scales": torch.tensor(scales), "g_idx": torch.tensor(g_idx, dtype=torch.int32)}
    if no_order:
        del t["g_idx"]
    save(case, t, torch.tensor((scales.astype(np.float32)[g_idx] * (codes - zeros[g_idx]).astype(np.float32)).T.copy()))


def awq(case, group):
    ngroups = COLS // group
    codes, zeros = rng.integers(0, 16, (COLS, ROWS)), rng.integers(0, 16, (ngroups, ROWS))
    scales = torch.tensor(rng.random((ngroups, ROWS)) * 0.02 + 0.001, dtype=torch.float16)
    q = torch.tensor(codes - np.repeat(zeros, group, 0), dtype=torch.int8)
    save(case, {"qweight": torch.tensor(across(codes)), "qzeros": torch.tensor(across(zeros)), "scales": scales},
         (q * scales.repeat_interleave(group, 0)).T)


def compressed(case, fmt, bits, strategy, group=None, sym=True, dtype=torch.bfloat16, rows=ROWS, cols=COLS):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams
    args = QuantizationArgs(num_bits=bits, type="int", symmetric=sym, strategy=strategy, group_size=group)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    w = weight(rows, cols)
    if not sym:
        w += 0.02
    g = w.reshape(1, -1) if strategy == "tensor" else w.reshape(rows, -1, group) if group else w.reshape(rows, 1, -1)
    scale, zero = calculate_qparams(g.amin(-1), g.amax(-1), args)
    scale = scale.to(dtype)
    state = {"weight": w.to(dtype), "weight_scale": scale, "weight_zero_point": zero.to(torch.int8)}
    c = BaseCompressor.get_value_from_registry(fmt)
    packed = c.compress(state, scheme)
    if fmt != "pack-quantized" and not sym:
        packed["weight_zero_point"] = state["weight_zero_point"]
    wide = dict(packed, weight_scale=packed["weight_scale"].float())  # values before they are rounded to the type of the scales
    save(case, packed, c.decompress(wide, scheme)["weight"])


def bnb4(case, kind, nested, dtype, rows=ROWS, cols=192, block=64):  # rows of whole blocks: others the CPU code of 0.50 reads wrongly
    import bitsandbytes.functional as F
    q, state = F.quantize_4bit(weight(rows, cols).to(dtype), blocksize=block, compress_statistics=nested, quant_type=kind)
    t = {"weight": q}
    t.update({"weight." + k: v for k, v in state.as_dict(packed=True).items()})
    save(case, t, F.dequantize_4bit(q, state))


def bnb8(case):
    import bitsandbytes.functional as F
    q, scb, _ = F.int8_vectorwise_quant(weight().half())
    t = {"weight": q, "SCB": scb, "weight_format": torch.tensor(0, dtype=torch.uint8)}
    save(case, t, F.int8_vectorwise_dequant(q, scb))


def mlx(case, bits, group, dtype):
    import mlx.core as mx
    w = mx.array(weight(40, 256).numpy()).astype(dtype)
    q, s, b = mx.quantize(w, group_size=group, bits=bits)
    t = {"weight": q, "scales": s, "biases": b, "expected": mx.dequantize(q, s, b, group_size=group, bits=bits)}
    mx.save_safetensors("%s/%s.safetensors" % (OUT, case), {"m." + k: v for k, v in t.items()})


def main():
    for bits in (2, 3, 4, 8):
        gptq("gptq-%d" % bits, bits, 32)
    gptq("gptq-order", 4, 64, mixed=True)
    gptq("gptq-v2", 4, 160, v2=True)
    gptq("gptq-plain", 4, 32, no_order=True, sym=True)
    awq("awq", 32)
    compressed("ct-4-group", "pack-quantized", 4, "group", 32)
    compressed("ct-4-zero", "pack-quantized", 4, "group", 32, sym=False, dtype=torch.float16)
    compressed("ct-3-zero", "pack-quantized", 3, "group", 16, sym=False, rows=37, cols=48)
    compressed("ct-8-channel", "pack-quantized", 8, "channel", rows=9, cols=37)
    compressed("ct-int-channel", "int-quantized", 8, "channel")
    compressed("ct-int-tensor", "int-quantized", 8, "tensor", sym=False)
    compressed("ct-int-group", "naive-quantized", 8, "group", 32, sym=False)
    compressed("ct-4-half", "pack-quantized", 4, "group", 32, dtype=torch.float16)
    compressed("ct-int-half", "int-quantized", 8, "group", 32, dtype=torch.float16)
    bnb4("bnb-nf4", "nf4", False, torch.bfloat16)
    bnb4("bnb-fp4", "fp4", False, torch.float16, 33, 90)
    bnb4("bnb-nested", "nf4", True, torch.bfloat16, 88, 192)
    bnb4("bnb-f32", "nf4", True, torch.float32)
    bnb8("bnb-8")
    import mlx.core as mx
    for bits, group, dtype in ((2, 32, mx.float16), (3, 64, mx.bfloat16), (4, 64, mx.bfloat16), (5, 32, mx.float16), (6, 128, mx.float16), (8, 64, mx.bfloat16)):
        mlx("mlx-%d" % bits, bits, group, dtype)
    gptq("gptq-sym", 4, 32, sym=True, v2=True)


main()
