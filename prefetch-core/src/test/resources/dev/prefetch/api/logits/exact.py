#!/usr/bin/env python3
"""exact.py MODELS [--peer LLPEER] [NAME ...] - the exact logits of random models, into this folder.

MODELS is a folder that the classes RandomModel and RandomEncoder of the tests have written. For each model NAME.gguf this
writes NAME.exact.f32: the logits after each of TOKENS, computed in float64 from the dequantised weights ([tokens x
vocabulary], little-endian float32); of an encoder the mean of the hidden states of WORDS, the first and the last ([3 x
dim]). Written from the definitions of the models, without the code under test; needs numpy and gguf, the
Python package of llama.cpp. With --peer, references.json also gets the model's SHA-256 and the relative rms of the logits
that llama.cpp itself finds, and the smallest distance between the
scores of an expert that is chosen and of one that is not is printed: rounding may turn a close choice; the argument is a driver that writes them (llpeer dump NAME.gguf --ids .. --out PREFIX).
With --encoder-peer the same for encoders; its argument is a program that writes the hidden states of tokens, [tokens x dim]
in float32, by llama_encode without pooling (PROGRAM NAME.gguf ID,ID,.. FILE).
"""
import argparse
import hashlib
import json
import pathlib
import subprocess
import tempfile
import gguf
import numpy as np

TOKENS = [(i * 7919 + 13) % 259 for i in range(16)]
N = len(TOKENS)
POSITIONS = np.arange(N)
WORDS = [2] + [5 + (i * 7919 + 13) % 255 for i in range(98)] + [3]
GATED = ("qwen3next", "qwen35", "qwen35moe")


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


class Model:
    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.fields = reader.fields
        self.arch = self.fields["general.architecture"].contents()
        self.weights = {}
        for t in reader.tensors:
            plain = t.tensor_type in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16)
            data = t.data if plain else gguf.quants.dequantize(t.data, t.tensor_type)
            self.weights[t.name] = np.asarray(data, np.float64).reshape([int(d) for d in reversed(t.shape)])
        self.eps = self.key("attention.layer_norm_rms_epsilon")
        self.closest = np.inf
        self.heads, self.kv = self.key("attention.head_count"), self.key("attention.head_count_kv")

    def key(self, name, default=None):
        field = self.fields.get(f"{self.arch}.{name}")
        return default if field is None else field.contents()

    def norm(self, x, gain=1.0):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * gain

    def rope(self, x, base, scaled=True):
        """x: [tokens x heads x size]; the first rope.dimension_count elements turn."""
        rotated = self.key("rope.dimension_count")
        i = np.arange(rotated // 2)
        frequency, magnitude = base ** (-2.0 * i / rotated), 1.0
        if scaled and self.key("rope.scaling.type") == "yarn":
            factor, original = self.key("rope.scaling.factor"), self.key("rope.scaling.original_context_length")

            def dimension(turns):
                return rotated * np.log(original / (turns * 2 * np.pi)) / (2 * np.log(base))

            low, high = max(0, np.floor(dimension(32))), min(rotated - 1, np.ceil(dimension(1)))
            keep = 1 - np.clip((i - low) / max(0.001, high - low), 0, 1)
            frequency = frequency / factor * (1 - keep) + frequency * keep
            magnitude = 1 if self.key("rope.scaling.yarn_log_multiplier") else 1 + 0.1 * np.log(factor)
            magnitude *= self.key("rope.scaling.attn_factor", 1.0)
        angle = (POSITIONS[:, None] * frequency)[:, None, :]
        c, s, y = np.cos(angle) * magnitude, np.sin(angle) * magnitude, x.copy()
        if self.arch in ("llama", "granite", "smollm3", "deepseek2"):
            a, b = slice(0, rotated, 2), slice(1, rotated, 2)
        else:
            a, b = slice(0, rotated // 2), slice(rotated // 2, rotated)
        y[..., a], y[..., b] = x[..., a] * c - x[..., b] * s, x[..., a] * s + x[..., b] * c
        return y

    def logits(self):
        gemma = self.arch.startswith("gemma")
        x = self.weights["token_embd.weight"][TOKENS]
        x = x * (np.sqrt(x.shape[1]) if gemma else self.key("embedding_scale", 1.0))
        for i in range(self.key("block_count")):
            layer = Layer(self, i)
            x = x + layer.attention(x) * self.key("residual_scale", 1.0)
            x = x + layer.feed_forward(x) * self.key("residual_scale", 1.0)
        output = self.weights.get("output.weight", self.weights["token_embd.weight"])
        x = self.norm(x, self.weights["output_norm.weight"]) @ output.T / self.key("logit_scale", 1.0)
        cap = self.key("final_logit_softcapping")
        return cap * np.tanh(x / cap) if cap else x


class Layer:
    def __init__(self, model, index):
        self.model, self.index, self.arch = model, index, model.arch

    def find(self, name):
        return self.model.weights.get(f"blk.{self.index}.{name}")

    def linear(self, x, name):
        bias = self.find(name + ".bias")
        return x @ self.find(name + ".weight").T + (0 if bias is None else bias)

    def norm(self, x, name):
        gain = self.find(name + ".weight")
        return x if gain is None else self.model.norm(x, gain)

    def window(self):
        period = {"gemma2": 2, "gemma3": 6, "gpt-oss": 2, "olmo2": 4}.get(self.arch)
        return self.model.key("attention.sliding_window", 0) if period and self.index % period < period - 1 else 0

    def attention(self, x):
        m, h, kv = self.model, self.model.heads, self.model.kv
        size = m.key("attention.key_length")
        x = self.norm(x, "attn_norm")
        if self.arch == "deepseek2":
            return self.latent_attention(x)
        if self.find("ssm_a") is not None:
            return self.linear_attention(x)
        if self.find("attn_qkv.weight") is not None:
            q, k, v = np.split(self.linear(x, "attn_qkv"), [h * size, (h + kv) * size], axis=1)
        else:
            q, k, v = (self.linear(x, "attn_" + name) for name in "qkv")
        if self.arch == "olmo2":
            q, k = self.norm(q, "attn_q_norm"), self.norm(k, "attn_k_norm")
        gate = None
        if self.arch in GATED:
            q, gate = np.split(q.reshape(N, h, 2 * size), 2, axis=2)
        q, k, v = q.reshape(N, h, size), k.reshape(N, kv, size), v.reshape(N, kv, size)
        if self.arch != "olmo2":
            q, k = self.norm(q, "attn_q_norm"), self.norm(k, "attn_k_norm")
        if not (self.arch == "smollm3" and self.index % 4 == 3):
            base = m.key("rope.freq_base", 10000.0)
            scaled = not (self.arch == "olmo2" and self.window())
            q, k = m.rope(q, base, scaled), m.rope(k, base, scaled)
        a = self.attend(q, k, v, m.key("attention.scale", 1 / np.sqrt(size)))
        a = a if gate is None else a * sigmoid(gate.reshape(N, -1))
        return self.norm(self.linear(a, "attn_output"), "post_attention_norm") if self.normed_after() else \
            self.linear(a, "attn_output")

    def linear_attention(self, x):
        """A gated delta network (arXiv 2412.06464); qwen35 interleaves the value heads of the key heads."""
        m, size = self.model, self.model.key("ssm.state_size")
        kh, vh = m.key("ssm.group_count"), m.key("ssm.time_step_rank")
        weights = self.find("ssm_conv1d.weight")
        if self.find("ssm_in.weight") is None:
            rows, gate = self.linear(x, "attn_qkv"), self.linear(x, "attn_gate")
        else:
            part = vh // kh * size
            parts = np.split(self.linear(x, "ssm_in").reshape(N, kh, -1), [size, 2 * size, 2 * size + part], axis=2)
            *parts, gate = (a.reshape(N, -1) for a in parts)
            rows = np.concatenate(parts, 1)
        padded = np.concatenate([np.zeros((weights.shape[1] - 1, rows.shape[1])), rows])
        mixed = silu(sum(padded[j : j + N] * weights[:, j] for j in range(weights.shape[1])))
        q, k, v = np.split(mixed, [kh * size, 2 * kh * size], axis=1)
        q, k = (a.reshape(N, kh, size) for a in (q, k))
        q, k = (a / np.maximum(np.sqrt((a * a).sum(-1, keepdims=True)), m.eps) for a in (q, k))
        if self.find("ssm_ba.weight") is not None:
            b, a = np.split(self.linear(x, "ssm_ba").reshape(N, kh, 2, vh // kh), 2, axis=2)
            b, a = b.reshape(N, vh), a.reshape(N, vh)
        else:
            b, a = self.linear(x, "ssm_beta"), self.linear(x, "ssm_alpha")
        decay = np.exp(self.find("ssm_a") * np.log1p(np.exp(a + self.find("ssm_dt.bias"))))
        v, out = v.reshape(N, vh, size), np.zeros((N, vh, size))
        for h in range(vh):
            head = h // (vh // kh) if self.arch == "qwen3next" else h % kh
            state = np.zeros((size, size))
            for t in range(N):
                state = state * decay[t, h]
                state = state + np.outer(k[t, head], sigmoid(b[t, h]) * (v[t, h] - state.T @ k[t, head]))
                out[t, h] = state.T @ q[t, head] / np.sqrt(size)
        return self.linear((self.norm(out, "ssm_norm") * silu(gate.reshape(N, vh, size))).reshape(N, -1), "ssm_out")

    def latent_attention(self, x):
        """Keys and values of all heads are made from the short vector, whatever form the file has them in."""
        m, h, rank, rotated = self.model, self.model.heads, self.model.key("attention.kv_lora_rank"), self.model.key("rope.dimension_count")
        size = m.key("attention.key_length_mla", m.key("attention.key_length"))
        base = m.key("rope.freq_base", 10000.0)
        if self.find("attn_q_a.weight") is None:
            q = self.linear(x, "attn_q")
        else:
            q = self.linear(self.norm(self.linear(x, "attn_q_a"), "attn_q_a_norm"), "attn_q_b")
        q = q.reshape(N, h, size)
        short, k_rotated = np.split(self.linear(x, "attn_kv_a_mqa"), [rank], axis=1)
        short = self.norm(short, "attn_kv_a_norm")
        if self.find("attn_kv_b.weight") is not None:
            k, v = np.split(self.linear(short, "attn_kv_b").reshape(N, h, -1), [size - rotated], axis=2)
        else:
            k = np.einsum("tr,hrd->thd", short, self.find("attn_k_b.weight"))
            v = np.einsum("tr,hdr->thd", short, self.find("attn_v_b.weight"))
        q = np.concatenate([q[..., :-rotated], m.rope(q[..., -rotated:], base)], -1)
        k_rotated = np.repeat(m.rope(k_rotated[:, None], base), h, 1)
        scale = 1 / np.sqrt(size)
        multiplier = m.key("rope.scaling.yarn_log_multiplier")
        if multiplier:
            scale *= (1 + multiplier * np.log(m.key("rope.scaling.factor"))) ** 2
        return self.linear(self.attend(q, np.concatenate([k, k_rotated], -1), v, scale), "attn_output")

    def normed_after(self):
        return self.arch in ("gemma2", "gemma3", "olmo2")

    def attend(self, q, k, v, scale):
        groups = q.shape[1] // k.shape[1]
        scores = np.einsum("ihd,jhd->hij", q, np.repeat(k, groups, 1)) * scale
        cap = self.model.key("attn_logit_softcapping")
        if cap:
            scores = cap * np.tanh(scores / cap)
        distance = POSITIONS[:, None] - POSITIONS[None, :]
        hidden = (distance < 0) | ((distance >= self.window()) if self.window() else False)
        scores = np.where(hidden[None], -np.inf, scores)
        sinks = self.find("attn_sinks.weight")
        if sinks is not None:
            scores = np.concatenate([scores, np.broadcast_to(sinks[:, None, None], (len(sinks), N, 1))], -1)
        return np.einsum("hij,jhd->ihd", softmax(scores)[..., :N], np.repeat(v, groups, 1)).reshape(N, -1)

    def feed_forward(self, x):
        x = self.norm(x, "post_attention_norm" if self.arch in ("gpt-oss", *GATED) else "ffn_norm")
        if self.find("ffn_gate_inp.weight") is not None:
            return self.experts(x)
        if self.find("ffn_gate.weight") is None:
            gate, up = np.split(self.linear(x, "ffn_up"), 2, axis=1)
        else:
            gate, up = self.linear(x, "ffn_gate"), self.linear(x, "ffn_up")
        activation = gelu if self.arch.startswith("gemma") else silu
        y = self.linear(activation(gate) * up, "ffn_down")
        return self.norm(y, "post_ffw_norm") if self.normed_after() else y

    def experts(self, x):
        scores, used = self.linear(x, "ffn_gate_inp"), self.model.key("expert_used_count")
        result = np.zeros_like(x)
        if self.find("ffn_up_shexp.weight") is not None:
            result = self.linear(silu(self.linear(x, "ffn_gate_shexp")) * self.linear(x, "ffn_up_shexp"), "ffn_down_shexp")
            gate = self.find("ffn_gate_inp_shexp.weight")
            result = result if gate is None else result * sigmoid(x @ gate)[:, None]
        for t in range(N):
            for expert, weight in self.route(scores[t], used):
                gate, up = self.expert("gate", expert, x[t]), self.expert("up", expert, x[t])
                if self.arch == "gpt-oss":
                    gate, up = np.minimum(gate, 7), np.clip(up, -7, 7)
                    inner = gate * sigmoid(1.702 * gate) * (up + 1)
                else:
                    inner = silu(gate) * up
                result[t] += weight * self.expert("down", expert, inner)
        return result

    def route(self, scores, used):
        key = self.model.key
        scored = sigmoid(scores) if key("expert_gating_func") == 2 else softmax(scores)
        ranks = scored if self.find("exp_probs_b.bias") is None else scored + self.find("exp_probs_b.bias")
        groups = key("expert_group_count", 1)
        if groups > 1:
            # The best two of a group speak for it where scores are sigmoids, the best one where they are a softmax.
            speakers = 2 if key("expert_gating_func") == 2 else 1
            by_group = np.sort(ranks.reshape(groups, -1), 1)[:, -speakers:].sum(1)
            best = np.argsort(-by_group, kind="stable")
            self.note_choice(by_group, best, key("expert_group_used_count"))
            allowed = np.repeat(np.isin(np.arange(groups), best[: key("expert_group_used_count")]), len(scores) // groups)
            ranks = np.where(allowed, ranks, -np.inf)
        order = np.argsort(-ranks, kind="stable")
        chosen = order[:used]
        self.note_choice(ranks if key("expert_gating_func") else scores, order, used)
        weights = scored[chosen]
        if self.arch != "qwen2moe" and (self.arch != "deepseek2" or key("expert_weights_norm")):
            weights = weights / weights.sum()
        return zip(chosen, weights * key("expert_weights_scale", 1.0))

    def note_choice(self, scores, order, used):
        self.model.closest = min(self.model.closest, scores[order[used - 1]] - scores[order[used]])

    def expert(self, name, index, x):
        bias = self.find(f"ffn_{name}_exps.bias")
        return self.find(f"ffn_{name}_exps.weight")[index] @ x + (0 if bias is None else bias[index])


class Encoder:
    """BERT (arXiv 1810.04805), and Nomic's with rotating positions and a gated network, or experts."""

    def __init__(self, model):
        self.key, self.weights, self.model = model.key, model.weights, model
        self.rotates, self.heads = model.arch != "bert", model.heads

    def linear(self, x, name):
        return x @ self.weights[name + ".weight"].T + self.weights.get(name + ".bias", 0)

    def norm(self, x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + self.key("attention.layer_norm_epsilon"))
        return x * self.weights[name + ".weight"] + self.weights[name + ".bias"]

    def rotate(self, x):
        half = x.shape[-1] // 2
        angle = np.arange(len(x))[:, None] * self.key("rope.freq_base") ** (-np.arange(half) / half)
        c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * c - b * s, a * s + b * c], -1)

    def states(self, tokens):
        x = self.weights["token_embd.weight"][tokens] + self.weights["token_types.weight"].reshape(-1, self.key("embedding_length"))[0]
        if not self.rotates:
            x = x + self.weights["position_embd.weight"][: len(tokens)]
        x = self.norm(x, "token_embd_norm")
        for i in range(self.key("block_count")):
            block = f"blk.{i}."
            x = self.norm(x + self.attention(x, block), block + "attn_output_norm")
            x = self.norm(x + self.feed_forward(x, block), block + "layer_output_norm")
        return x

    def attention(self, x, block):
        if block + "attn_qkv.weight" in self.weights:
            q, k, v = np.split(self.linear(x, block + "attn_qkv"), 3, axis=1)
        else:
            q, k, v = (self.linear(x, block + "attn_" + name) for name in "qkv")
        q, k, v = (a.reshape(len(x), self.heads, -1) for a in (q, k, v))
        if self.rotates:
            q, k = self.rotate(q), self.rotate(k)
        weights = softmax(np.einsum("ihd,jhd->hij", q, k) / np.sqrt(q.shape[-1]))
        return self.linear(np.einsum("hij,jhd->ihd", weights, v).reshape(len(x), -1), block + "attn_output")

    def feed_forward(self, x, block):
        if block + "ffn_gate_inp.weight" in self.weights:
            return self.experts(x, block)
        up = self.linear(x, block + "ffn_up")
        if block + "ffn_gate.weight" in self.weights:
            return self.linear(silu(self.linear(x, block + "ffn_gate")) * up, block + "ffn_down")
        return self.linear(gelu(up), block + "ffn_down")

    def experts(self, x, block):
        up, down = self.weights[block + "ffn_up_exps.weight"], self.weights[block + "ffn_down_exps.weight"]
        scores, used, result = softmax(self.linear(x, block + "ffn_gate_inp")), self.key("expert_used_count"), np.zeros_like(x)
        for t in range(len(x)):
            order = np.argsort(-scores[t], kind="stable")
            gap = scores[t][order[used - 1]] - scores[t][order[used]]
            self.model.closest = min(self.model.closest, gap)
            for expert in order[:used]:
                result[t] += scores[t][expert] * (down[expert] @ gelu(up[expert] @ x[t]))
        return result

    @staticmethod
    def pooled(states):
        return np.stack([states.mean(0), states[0], states[-1]])


def relative_rms(actual, exact):
    return float(np.sqrt(((actual - exact) ** 2).sum() / (exact**2).sum()))


def peer_logits(driver, model):
    with tempfile.TemporaryDirectory() as folder:
        ids = ",".join(map(str, TOKENS))
        subprocess.run([driver, "dump", model, "--ids", ids, "--out", f"{folder}/peer"], check=True, stdout=subprocess.DEVNULL)
        return np.fromfile(f"{folder}/peer.logits.f32", "<f4").astype(np.float64).reshape(N, -1)


def peer_states(program, model):
    with tempfile.NamedTemporaryFile() as file:
        subprocess.run([program, model, ",".join(map(str, WORDS)), file.name], check=True)
        return np.fromfile(file.name, "<f4").astype(np.float64).reshape(len(WORDS), -1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=pathlib.Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--peer")
    parser.add_argument("--encoder-peer")
    options = parser.parse_args()
    here = pathlib.Path(__file__).parent
    listing = here / "references.json"
    references = json.loads(listing.read_text()) if listing.exists() else {}
    for path in sorted(options.models.glob("*.gguf")):
        if options.names and not any(path.stem.startswith(name) for name in options.names):
            continue
        model = Model(path)
        encoder = Encoder(model) if "bert" in model.arch else None
        exact = Encoder.pooled(encoder.states(WORDS)) if encoder else model.logits()
        exact.astype("<f4").tofile(here / f"{path.stem}.exact.f32")
        if encoder and options.encoder_peer:
            found = Encoder.pooled(peer_states(options.encoder_peer, path))
        else:
            found = peer_logits(options.peer, path) if options.peer and not encoder else None
        if found is not None:
            peer = relative_rms(found, exact)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            references[path.stem] = {"sha256": digest, "peerRelativeRms": float(f"{peer:.3g}")}
            print(f"{path.stem}: rms {np.sqrt((exact**2).mean()):.3f}, llama.cpp {peer:.2e}", end="")
            print(f", closest choice {model.closest:.3f}" if model.closest < np.inf else "", flush=True)
    if options.peer or options.encoder_peer:
        listing.write_text(json.dumps(dict(sorted(references.items())), indent=1) + "\n")


main()
