package dev.prefetch.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import com.sun.management.ThreadMXBean;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.gguf.GgufFormatException;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Hyper-parameters and graph of sound models, and the refusal of models that contradict themselves. */
class ModelGraphTest {

    @TempDir
    private Path folder;

    @Test
    void readsADenseModelInTheOrderOfItsSweep() {
        try (GgufFile file = new TinyModel().open(folder)) {
            ModelConfig config = ModelConfig.read(file);
            assertThat(config.attention().keyDim()).isEqualTo(16);
            assertThat(config.queryDim()).isEqualTo(32);
            assertThat(config.keyDim()).isEqualTo(16);
            assertThat(config.vocabularySize()).isEqualTo(4);
            ModelGraph graph = ModelGraph.of(file, config);
            assertThat(graph.blocks())
                    .extracting(WeightBlock::label)
                    .containsExactly("embed", "L00.attn", "L00.gate", "L00.up", "L00.down", "output");
            // Tied: the output reads the embedding's bytes.
            assertThat(graph.output().find(TensorRole.OUTPUT).orElseThrow().fileOffset())
                    .isEqualTo(graph.embedding()
                            .find(TensorRole.TOKEN_EMBEDDING)
                            .orElseThrow()
                            .fileOffset());
        }
    }

    @Test
    void cutsExpertsOutOfTheirCommonTensor() {
        try (GgufFile file = new TinyModel().withExperts().open(folder)) {
            ModelGraph graph = ModelGraph.of(file, ModelConfig.read(file));
            long whole = file.find("blk.0.ffn_up_exps.weight").orElseThrow().offset();
            BlockTensor third = graph.expert(0, 2).find(TensorRole.FFN_UP).orElseThrow();
            assertThat(third.fileOffset()).isEqualTo(whole + 2 * 32 * 64 * 4);
            assertThat(third.byteSize()).isEqualTo(32 * 64 * 4);
        }
    }

    static Stream<Arguments> contradictions() {
        return Stream.of(
                key("llama.block_count", 0, "block_count", "0 is outside"),
                key("llama.block_count", -1, "block_count", "-1 is outside"),
                key("llama.block_count", 2, "tensor blk.1.attn_norm.weight is missing"),
                key("llama.block_count", 1 << 20, "block_count", "1048576 layers", "11 tensors"),
                key("llama.block_count", Long.MAX_VALUE, "block_count", "does not fit"),
                key("llama.embedding_length", 1 << 30, "embedding_length", "is outside"),
                key("llama.embedding_length", 16, "token_embd.weight", "[32, 4]", "[16, 4]"),
                key("llama.embedding_length", 65, "embedding_length", "65", "widest tensor has 64"),
                key("llama.context_length", 0, "context_length"),
                key("llama.feed_forward_length", 63, "ffn_gate.weight", "[32, 63]"),
                key("llama.attention.head_count", 3, "blk.0.attn_q.weight", "[32, 32]", "[32, 30]"),
                key("llama.attention.head_count", 0, "head_count", "0 is outside"),
                key("llama.attention.head_count", 33, "head_count", "33 heads", "32"),
                key("llama.attention.head_count", new int[] {2, 2}, "head_count", "array"),
                key("llama.attention.head_count_kv", 0, "head_count_kv"),
                key("llama.attention.head_count_kv", 4, "multiple"),
                key("llama.attention.key_length", 1 << 24, "key_length", "widest tensor"),
                key("llama.attention.value_length", 8, "attn_v.weight"),
                key("llama.rope.dimension_count", 15, "rope.dimension_count", "odd"),
                key("llama.rope.dimension_count", 18, "rope.dimension_count", "above the head size 16"),
                key("llama.rope.freq_base", Float.NaN, "rope.freq_base", "NaN"),
                key("llama.rope.freq_base", -1f, "rope.freq_base", "-1.0"),
                key("llama.rope.scaling.type", "longrope", "rope.scaling.type", "longrope"),
                key("llama.rope.scaling.factor", 0f, "rope.scaling.factor"),
                key("llama.attention.layer_norm_rms_epsilon", Float.NaN, "epsilon", "NaN"),
                key("llama.expert_used_count", 1, "expert_used_count", "1 of 0"),
                key("llama.expert_count", 4, "expert_used_count", "0 of 4"),
                key("general.architecture", "mamba", "mamba", "supported are llama"),
                Arguments.of(
                        "heads times their size beyond an int",
                        // 512 * 8388609 is 512 as an int
                        new TinyModel()
                                .key("llama.attention.head_count", 512)
                                .key("llama.attention.key_length", 8_388_609),
                        List.of("key_length", "8388609")),
                Arguments.of(
                        "missing epsilon",
                        new TinyModel().without("llama.attention.layer_norm_rms_epsilon"),
                        List.of("layer_norm_rms_epsilon", "missing")),
                Arguments.of(
                        "missing tensor",
                        new TinyModel().without("blk.0.ffn_up.weight"),
                        List.of("blk.0.ffn_up.weight", "missing")),
                Arguments.of(
                        "missing embedding",
                        new TinyModel().without("token_embd.weight"),
                        List.of("token_embd.weight", "missing")),
                Arguments.of(
                        "a norm that would be left out",
                        new TinyModel().tensor("blk.0.post_attention_norm.weight", 32),
                        List.of("blk.0.post_attention_norm.weight", "not part")),
                Arguments.of(
                        "a layer beyond block_count",
                        new TinyModel().tensor("blk.1.attn_norm.weight", 32),
                        List.of("blk.1.attn_norm.weight")),
                Arguments.of(
                        "a norm of two dimensions",
                        new TinyModel().tensor("blk.0.attn_norm.weight", 32, 2),
                        List.of("blk.0.attn_norm.weight", "[32, 2]")),
                Arguments.of(
                        "more experts than the tensors hold",
                        new TinyModel()
                                .withExperts()
                                .key("llama.expert_count", 5)
                                .tensor("blk.0.ffn_gate_inp.weight", 32, 5),
                        List.of("blk.0.ffn_gate_exps.weight", "5")),
                Arguments.of(
                        "gates of experts both apart and with the up projections",
                        new TinyModel().withExperts().tensor("blk.0.ffn_gate_up_exps.weight", 32, 128, 4),
                        List.of("blk.0.ffn_gate_exps.weight", "not part")),
                Arguments.of(
                        "gates and up projections of experts of another width",
                        new TinyModel()
                                .withExperts()
                                .without("blk.0.ffn_gate_exps.weight")
                                .without("blk.0.ffn_up_exps.weight")
                                .tensor("blk.0.ffn_gate_up_exps.weight", 32, 64, 4),
                        List.of("blk.0.ffn_gate_up_exps.weight", "[32, 64, 4]", "[32, 128, 4]")),
                Arguments.of(
                        "more experts used than there are",
                        new TinyModel().withExperts().key("llama.expert_used_count", 5),
                        List.of("expert_used_count", "5 of 4")),
                Arguments.of(
                        "rope factors of the wrong number",
                        new TinyModel().vector("rope_freqs.weight", 1, 1),
                        List.of("rope_freqs.weight", "8")),
                Arguments.of(
                        "a rope factor that is no number",
                        new TinyModel().vector("rope_freqs.weight", 1, 1, 1, Float.NaN, 1, 1, 1, 1),
                        List.of("rope_freqs.weight[3]", "NaN")));
    }

    private static Arguments key(String key, Object value, String... inMessage) {
        return Arguments.of(key + " = " + value, new TinyModel().key(key, value), List.of(inMessage));
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("contradictions")
    void refusesWhatContradictsItselfAndNamesIt(String what, TinyModel model, List<String> inMessage) {
        try (GgufFile file = model.open(folder)) {
            assertThatExceptionOfType(GgufFormatException.class)
                    .isThrownBy(() -> ModelGraph.of(file, ModelConfig.read(file)))
                    .satisfies(e ->
                            assertThat(e.getMessage()).contains("tiny.gguf").contains(inMessage));
        }
    }

    @Test
    void allocatesNothingForAKeyBeforeTheTensorsAgree() {
        ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
        TinyModel model = new TinyModel()
                .key("llama.attention.head_count", 1)
                .key("llama.attention.key_length", 1 << 24)
                .key("llama.rope.dimension_count", 1 << 24)
                .key("llama.expert_count", 1 << 14)
                .key("llama.expert_used_count", 1);
        try (GgufFile file = model.open(folder)) {
            long before = threads.getCurrentThreadAllocatedBytes();
            assertThatExceptionOfType(UnsupportedModelException.class)
                    .isThrownBy(() -> ModelGraph.of(file, ModelConfig.read(file)));
            assertThat(threads.getCurrentThreadAllocatedBytes() - before).isLessThan(4 << 20);
        }
    }
}
