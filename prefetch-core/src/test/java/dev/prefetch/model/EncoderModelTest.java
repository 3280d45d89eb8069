package dev.prefetch.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.gguf.GgufFormatException;
import java.nio.file.Path;
import java.util.List;
import java.util.function.BiConsumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Hyper-parameters and graph of encoders. */
class EncoderModelTest {

    @TempDir
    private Path folder;

    /** Two heads of 16, one key/value head: nothing but the fused matrix depends on it. */
    private static TinyModel encoder(String architecture) {
        TinyModel model = new TinyModel()
                .as(architecture)
                .without(architecture + ".attention.layer_norm_rms_epsilon")
                .key(architecture + ".attention.layer_norm_epsilon", 1e-12f)
                .without("output_norm.weight")
                .without("blk.0.attn_norm.weight")
                .without("blk.0.ffn_norm.weight");
        for (String norm : List.of("token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm")) {
            model.tensor(norm + ".weight", 32).tensor(norm + ".bias", 32);
        }
        return model;
    }

    private static TinyModel bert() {
        return encoder("bert")
                .without("blk.0.ffn_gate.weight")
                .tensor("token_types.weight", 32, 2)
                .tensor("position_embd.weight", 32, 128);
    }

    private void graph(TinyModel model, BiConsumer<ModelConfig, ModelGraph> check) {
        try (GgufFile file = model.open(folder)) {
            ModelConfig config = ModelConfig.read(file);
            check.accept(config, ModelGraph.of(file, config));
        }
    }

    @Test
    void theNormOfTheLastLayerIsThatOfTheOutput() {
        TinyModel model = bert().key("bert.block_count", 2);
        for (String name : List.of("attn_q", "attn_output")) {
            model.tensor("blk.1." + name + ".weight", 32, 32);
        }
        model.tensor("blk.1.attn_k.weight", 32, 16)
                .tensor("blk.1.attn_v.weight", 32, 16)
                .tensor("blk.1.ffn_up.weight", 32, 64)
                .tensor("blk.1.ffn_down.weight", 64, 32);
        for (String norm : List.of("blk.1.attn_output_norm", "blk.1.layer_output_norm")) {
            model.tensor(norm + ".weight", 32).tensor(norm + ".bias", 32);
        }
        graph(model, (config, graph) -> {
            assertThat(graph.blocks())
                    .extracting(WeightBlock::label)
                    .containsExactly(
                            "embed", "L00.attn", "L00.up", "L00.down", "L01.attn", "L01.up", "L01.down", "output");
            assertThat(graph.feedForwardDown(0).find(TensorRole.FFN_SUM_NORM)).isPresent();
            assertThat(graph.feedForwardDown(1).find(TensorRole.FFN_SUM_NORM)).isEmpty();
            assertThat(graph.output().tensors())
                    .extracting(BlockTensor::name)
                    .containsExactly("blk.1.layer_output_norm.weight", "blk.1.layer_output_norm.bias");
        });
    }

    @Test
    void positionsAreLearntOrRotateAndEveryOneSeesAll() {
        graph(bert(), (config, graph) -> {
            assertThat(config.encoder()).isTrue();
            assertThat(config.logits()).isZero();
            assertThat(config.normEpsilon()).isEqualTo(1e-12f);
            assertThat(config.attention()).isEqualTo(new AttentionShape(2, 1, 16, 16, 0.25f, 0, 0).notCausal());
            assertThat(config.layerConfigs().getFirst().rope()).isNull();
            BlockTensor types =
                    graph.embedding().find(TensorRole.TYPE_EMBEDDING).orElseThrow();
            assertThat(types.rows()).isEqualTo(1);
            assertThat(types.byteSize()).isEqualTo(32 * 4);
            assertThat(graph.embedding().find(TensorRole.POSITION_EMBEDDING)).isPresent();
        });
        graph(encoder("nomic-bert"), (config, graph) -> {
            assertThat(config.layerConfigs().getFirst().rope()).isEqualTo(config.rope());
            assertThat(graph.embedding().find(TensorRole.TYPE_EMBEDDING)).isEmpty();
            assertThat(graph.blocks())
                    .extracting(WeightBlock::label)
                    .containsExactly("embed", "L00.attn", "L00.gate", "L00.up", "L00.down", "output");
        });
    }

    @Test
    void theBiasOfAFusedMatrixIsCutLikeItsRows() {
        TinyModel model = bert().without("blk.0.attn_q.weight")
                .without("blk.0.attn_k.weight")
                .without("blk.0.attn_v.weight")
                .tensor("blk.0.attn_qkv.weight", 32, 64)
                .tensor("blk.0.attn_qkv.bias", 64);
        graph(model, (config, graph) -> {
            WeightBlock attention = graph.attention(0);
            BlockTensor q = attention.find(TensorRole.ATTENTION_Q_BIAS).orElseThrow();
            BlockTensor k = attention.find(TensorRole.ATTENTION_K_BIAS).orElseThrow();
            BlockTensor v = attention.find(TensorRole.ATTENTION_V_BIAS).orElseThrow();
            assertThat(List.of(q.cols(), k.cols(), v.cols())).containsExactly(32L, 16L, 16L);
            assertThat(k.fileOffset() - q.fileOffset()).isEqualTo(32 * 4);
            assertThat(v.fileOffset() - q.fileOffset()).isEqualTo(48 * 4);
            assertThat(v.byteSize()).isEqualTo(16 * 4);
        });
    }

    static Stream<Arguments> contradictions() {
        return Stream.of(
                Arguments.of(bert().key("bert.attention.causal", true), List.of("bert.attention.causal")),
                Arguments.of(
                        new TinyModel().key("llama.attention.causal", false),
                        List.of("llama.attention.causal", "encoders alone")),
                Arguments.of(
                        bert().key("bert.expert_count", 4).key("bert.expert_used_count", 2),
                        List.of("bert.moe_every_n_layers", "missing")),
                Arguments.of(
                        bert().without("bert.attention.layer_norm_epsilon"), List.of("attention.layer_norm_epsilon")),
                Arguments.of(bert().key("bert.context_length", 127), List.of("position_embd.weight", "127")),
                Arguments.of(bert().without("position_embd.weight"), List.of("position_embd.weight", "missing")),
                Arguments.of(bert().without("token_embd_norm.bias"), List.of("token_embd_norm.bias", "missing")),
                Arguments.of(bert().tensor("token_types.weight", 33, 2), List.of("token_types.weight")),
                Arguments.of(bert().without("blk.0.layer_output_norm.weight"), List.of("layer_output_norm", "missing")),
                Arguments.of(bert().tensor("cls.weight", 32, 32), List.of("cls.weight", "not part")),
                Arguments.of(
                        encoder("nomic-bert").tensor("position_embd.weight", 32, 128),
                        List.of("position_embd.weight", "not part")));
    }

    @ParameterizedTest
    @MethodSource("contradictions")
    void refusesWhatContradictsItselfAndNamesIt(TinyModel model, List<String> inMessage) {
        try (GgufFile file = model.open(folder)) {
            assertThatExceptionOfType(GgufFormatException.class)
                    .isThrownBy(() -> ModelGraph.of(file, ModelConfig.read(file)))
                    .satisfies(e ->
                            assertThat(e.getMessage()).contains("tiny.gguf").contains(inMessage));
        }
    }
}
