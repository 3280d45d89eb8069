package dev.prefetch.model;

import dev.prefetch.gguf.GgufFile;
import dev.prefetch.testing.GgufWriter;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A model of one layer that tests take apart: 32 wide, two query heads and one key/value head of 16, feed-forward of 64,
 * four tokens, all zeros.
 */
final class TinyModel {

    private final Map<String, Object> keys = new LinkedHashMap<>();
    private final Map<String, List<Long>> tensors = new LinkedHashMap<>();
    private final Map<String, float[]> contents = new LinkedHashMap<>();

    TinyModel() {
        keys.put("general.architecture", "llama");
        keys.put("llama.block_count", 1);
        keys.put("llama.embedding_length", 32);
        keys.put("llama.context_length", 128);
        keys.put("llama.feed_forward_length", 64);
        keys.put("llama.attention.head_count", 2);
        keys.put("llama.attention.head_count_kv", 1);
        keys.put("llama.attention.layer_norm_rms_epsilon", 1e-5f);
        tensor("token_embd.weight", 32, 4);
        tensor("output_norm.weight", 32);
        tensor("blk.0.attn_norm.weight", 32);
        tensor("blk.0.attn_q.weight", 32, 32);
        tensor("blk.0.attn_k.weight", 32, 16);
        tensor("blk.0.attn_v.weight", 32, 16);
        tensor("blk.0.attn_output.weight", 32, 32);
        tensor("blk.0.ffn_norm.weight", 32);
        tensor("blk.0.ffn_gate.weight", 32, 64);
        tensor("blk.0.ffn_up.weight", 32, 64);
        tensor("blk.0.ffn_down.weight", 64, 32);
    }

    /** The feed-forward network as four experts, two of which serve a token. */
    TinyModel withExperts() {
        without("blk.0.ffn_gate.weight").without("blk.0.ffn_up.weight").without("blk.0.ffn_down.weight");
        key("llama.expert_count", 4).key("llama.expert_used_count", 2);
        tensor("blk.0.ffn_gate_inp.weight", 32, 4);
        tensor("blk.0.ffn_gate_exps.weight", 32, 64, 4);
        tensor("blk.0.ffn_up_exps.weight", 32, 64, 4);
        return tensor("blk.0.ffn_down_exps.weight", 64, 32, 4);
    }

    /** The same tensors and values as another architecture. */
    TinyModel as(String architecture) {
        Map<String, Object> renamed = new LinkedHashMap<>();
        keys.forEach((key, value) -> renamed.put(key.replaceFirst("^llama\\.", architecture + "."), value));
        keys.clear();
        keys.putAll(renamed);
        return key("general.architecture", architecture);
    }

    TinyModel key(String key, Object value) {
        keys.put(key, value);
        return this;
    }

    /** Takes out a key or a tensor. */
    TinyModel without(String name) {
        keys.remove(name);
        tensors.remove(name);
        return this;
    }

    TinyModel tensor(String name, long... dimensions) {
        tensors.put(name, Arrays.stream(dimensions).boxed().toList());
        return this;
    }

    TinyModel vector(String name, float... values) {
        contents.put(name, values);
        return tensor(name, values.length);
    }

    GgufFile open(Path folder) {
        GgufWriter writer = new GgufWriter().putAll(keys);
        tensors.forEach((name, dimensions) -> {
            int elements = Math.toIntExact(dimensions.stream().reduce(1L, Math::multiplyExact));
            writer.f32Tensor(name, dimensions, contents.getOrDefault(name, new float[elements]));
        });
        return GgufFile.open(writer.write(folder.resolve("tiny.gguf")));
    }
}
