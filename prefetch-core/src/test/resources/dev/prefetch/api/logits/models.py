#!/usr/bin/env python3
"""models.py FOLDER - the small random models of this folder, and their exact logits (float64) for the tokens of ids.txt.

Needs numpy and gguf (the Python package of llama.cpp). Written from the model definitions, without the code under test;
llama.cpp (v0.5.0, CPU) agrees with the logits to a relative rms of 1e-3, which is its own rounding to f16.
"""
import sys
import gguf
import numpy as np

DIM, LAYERS, HEADS, KV, HEAD, FFN = 32, 4, 4, 2, 8, 48
EXPERTS, USED, EXPERT_FFN, SHARED_FFN, WINDOW, EPS = 8, 2, 32, 64, 9, 1e-6
IDS = [(i * 7919 + 13) % 259 for i in range(48)]


def characters():
    kept = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    others = iter(range(256, 512))
    return [chr(b) if b in kept else chr(next(others)) for b in range(256)]


def write(path, arch, rng):
    w, weights = gguf.GGUFWriter(path, arch), {}
    w.add_name(f"random {arch}")
    w.add_context_length(512)
    w.add_embedding_length(DIM)
    w.add_block_count(LAYERS)
    w.add_feed_forward_length(FFN)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV)
    w.add_layer_norm_rms_eps(EPS)
    w.add_rope_dimension_count(HEAD)
    if arch == "granite":
        w.add_embedding_scale(3.0)
        w.add_residual_scale(0.5)
        w.add_attention_scale(0.25)
        w.add_logit_scale(2.0)
    if arch == "olmo2":
        w.add_sliding_window(WINDOW)
    if arch == "qwen2moe":
        w.add_expert_count(EXPERTS)
        w.add_expert_used_count(USED)
        w.add_expert_feed_forward_length(EXPERT_FFN)
        w.add_expert_shared_feed_forward_length(SHARED_FFN)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("qwen2")
    w.add_token_list(characters() + ["<|begin|>", "<|end|>", "<|pad|>"])
    w.add_token_types([1] * 256 + [3] * 3)
    w.add_token_merges(["a b"])
    w.add_bos_token_id(256)
    w.add_eos_token_id(257)
    w.add_add_bos_token(False)

    def tensor(name, shape, std, mean=0.0):
        weights[name] = (rng.standard_normal(shape) * std + mean).astype(np.float32)
        w.add_tensor(name, weights[name])

    s = 1 / np.sqrt(DIM)
    tensor("token_embd.weight", (259, DIM), 1)
    for i in range(LAYERS):
        b = f"blk.{i}."
        if arch == "olmo2":
            tensor(b + "post_attention_norm.weight", (DIM,), 0.1, 0.7)
            tensor(b + "post_ffw_norm.weight", (DIM,), 0.1, 0.7)
            tensor(b + "attn_q_norm.weight", (HEADS * HEAD,), 0.2, 1.5)
            tensor(b + "attn_k_norm.weight", (KV * HEAD,), 0.2, 1.5)
        else:
            tensor(b + "attn_norm.weight", (DIM,), 0.1, 1)
            tensor(b + "ffn_norm.weight", (DIM,), 0.1, 1)
        tensor(b + "attn_q.weight", (HEADS * HEAD, DIM), 1.5 * s)
        tensor(b + "attn_k.weight", (KV * HEAD, DIM), 1.5 * s)
        tensor(b + "attn_v.weight", (KV * HEAD, DIM), s)
        tensor(b + "attn_output.weight", (DIM, HEADS * HEAD), s)
        if arch == "granite":
            tensor(b + "attn_output.bias", (DIM,), 0.05)
        if arch == "qwen2moe":
            tensor(b + "attn_q.bias", (HEADS * HEAD,), 0.3)
            tensor(b + "attn_k.bias", (KV * HEAD,), 0.3)
            tensor(b + "attn_v.bias", (KV * HEAD,), 0.1)
            tensor(b + "ffn_gate_inp.weight", (EXPERTS, DIM), 2 * s)
            tensor(b + "ffn_gate_exps.weight", (EXPERTS, EXPERT_FFN, DIM), s)
            tensor(b + "ffn_up_exps.weight", (EXPERTS, EXPERT_FFN, DIM), s)
            tensor(b + "ffn_down_exps.weight", (EXPERTS, DIM, EXPERT_FFN), 2 / np.sqrt(EXPERT_FFN))
            tensor(b + "ffn_gate_inp_shexp.weight", (DIM,), 2 * s)
            tensor(b + "ffn_gate_shexp.weight", (SHARED_FFN, DIM), s)
            tensor(b + "ffn_up_shexp.weight", (SHARED_FFN, DIM), s)
            tensor(b + "ffn_down_shexp.weight", (DIM, SHARED_FFN), 2 / np.sqrt(SHARED_FFN))
        else:
            tensor(b + "ffn_gate.weight", (FFN, DIM), s)
            tensor(b + "ffn_up.weight", (FFN, DIM), s)
            tensor(b + "ffn_down.weight", (DIM, FFN), 1.5 / np.sqrt(FFN))
    tensor("output_norm.weight", (DIM,), 0.1, 1)
    tensor("output.weight", (259, DIM), 3 * s)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return {name: value.astype(np.float64) for name, value in weights.items()}


def exact(arch, weights):
    n, pos = len(IDS), np.arange(len(IDS))
    granite = arch == "granite"

    def norm(x, gain):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * gain

    def silu(x):
        return x / (1 + np.exp(-x))

    def softmax(x):
        e = np.exp(x - x.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    def rope(x):
        a = (pos[:, None] * 10000.0 ** (-2.0 * np.arange(HEAD // 2) / HEAD))[:, None, :]
        y = x.copy()
        if arch in ("granite", "smollm3"):
            p, q = x[..., 0::2], x[..., 1::2]
            y[..., 0::2], y[..., 1::2] = p * np.cos(a) - q * np.sin(a), p * np.sin(a) + q * np.cos(a)
        else:
            p, q = x[..., : HEAD // 2], x[..., HEAD // 2 :]
            y[..., : HEAD // 2], y[..., HEAD // 2 :] = p * np.cos(a) - q * np.sin(a), p * np.sin(a) + q * np.cos(a)
        return y

    x = weights["token_embd.weight"][IDS] * (3.0 if granite else 1.0)
    for i in range(LAYERS):

        def w(name):
            return weights[f"blk.{i}.{name}"]

        def linear(v, name):
            bias = weights.get(f"blk.{i}.{name}.bias", 0)
            return v @ w(name + ".weight").T + bias

        h = x if arch == "olmo2" else norm(x, w("attn_norm.weight"))
        q, k, v = linear(h, "attn_q"), linear(h, "attn_k"), linear(h, "attn_v")
        if arch == "olmo2":
            q, k = norm(q, w("attn_q_norm.weight")), norm(k, w("attn_k_norm.weight"))
        q, k, v = q.reshape(n, HEADS, HEAD), k.reshape(n, KV, HEAD), v.reshape(n, KV, HEAD)
        if not (arch == "smollm3" and i % 4 == 3):
            q, k = rope(q), rope(k)
        k, v = np.repeat(k, HEADS // KV, 1), np.repeat(v, HEADS // KV, 1)
        scores = np.einsum("ihd,jhd->hij", q, k) * (0.25 if granite else 1 / np.sqrt(HEAD))
        distance = pos[:, None] - pos[None, :]
        hidden = (distance < 0) | ((distance >= WINDOW) if arch == "olmo2" and i % 4 < 3 else False)
        attended = softmax(np.where(hidden[None], -np.inf, scores))
        a = linear(np.einsum("hij,jhd->ihd", attended, v).reshape(n, -1), "attn_output")
        if arch == "olmo2":
            a = norm(a, w("post_attention_norm.weight"))
        x = x + a * (0.5 if granite else 1)
        h = x if arch == "olmo2" else norm(x, w("ffn_norm.weight"))
        if arch == "qwen2moe":
            scores = h @ w("ffn_gate_inp.weight").T
            shared = linear(silu(linear(h, "ffn_gate_shexp")) * linear(h, "ffn_up_shexp"), "ffn_down_shexp")
            f = shared / (1 + np.exp(-(h @ w("ffn_gate_inp_shexp.weight"))))[:, None]
            for t in range(n):
                for e in np.argsort(-scores[t], kind="stable")[:USED]:
                    g, u = w("ffn_gate_exps.weight")[e] @ h[t], w("ffn_up_exps.weight")[e] @ h[t]
                    f[t] += softmax(scores[t])[e] * (w("ffn_down_exps.weight")[e] @ (silu(g) * u))
        else:
            f = linear(silu(linear(h, "ffn_gate")) * linear(h, "ffn_up"), "ffn_down")
        if arch == "olmo2":
            f = norm(f, w("post_ffw_norm.weight"))
        x = x + f * (0.5 if granite else 1)
    return norm(x, weights["output_norm.weight"]) @ weights["output.weight"].T / (2.0 if granite else 1)


folder = sys.argv[1]
with open(f"{folder}/ids.txt", "w") as out:
    out.write(",".join(map(str, IDS)) + "\n")
for seed, arch in enumerate(("granite", "olmo2", "qwen2moe", "smollm3")):
    loaded = write(f"{folder}/{arch}-F32.gguf", arch, np.random.default_rng(seed))
    exact(arch, loaded).astype("<f4").tofile(f"{folder}/{arch}-F32.exact.f32")
