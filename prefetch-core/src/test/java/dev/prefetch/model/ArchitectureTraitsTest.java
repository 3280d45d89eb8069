package dev.prefetch.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.within;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.DeltaShape;
import dev.prefetch.backend.Rope;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.gguf.GgufTensor;
import dev.prefetch.model.ModelConfig.LayerConfig;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.function.BiConsumer;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What architectures make of the keys and tensors of a file, beyond what logits of small models can show. */
class ArchitectureTraitsTest {

    @TempDir
    private Path folder;

    private ModelConfig config(TinyModel model) {
        try (GgufFile file = model.open(folder)) {
            return ModelConfig.read(file);
        }
    }

    private void graph(TinyModel model, BiConsumer<GgufFile, ModelGraph> check) {
        try (GgufFile file = model.open(folder)) {
            check.accept(file, ModelGraph.of(file, ModelConfig.read(file)));
        }
    }

    /** As many layers as the file has tensors: enough for a pattern, and configurations need no more. */
    private static TinyModel layers(String architecture, int layers) {
        TinyModel model = new TinyModel().as(architecture).key(architecture + ".block_count", layers);
        for (int i = 0; i < layers; i++) {
            model.tensor("filler." + i, 1);
        }
        return model;
    }

    private static List<Integer> windows(ModelConfig config) {
        return config.layerConfigs().stream()
                .map(layer -> layer.attention().window())
                .toList();
    }

    @Test
    void theLastLayerOfAPeriodSeesEverything() {
        assertThat(windows(config(layers("gemma2", 5).key("gemma2.attention.sliding_window", 9))))
                .containsExactly(9, 0, 9, 0, 9);
        assertThat(windows(config(layers("gemma3", 7).key("gemma3.attention.sliding_window", 9))))
                .containsExactly(9, 9, 9, 9, 9, 0, 9);
        assertThat(windows(config(layers("gpt-oss", 3).key("gpt-oss.attention.sliding_window", 9))))
                .containsExactly(9, 0, 9);
        assertThat(windows(config(layers("olmo2", 5).key("olmo2.attention.sliding_window", 9))))
                .containsExactly(9, 9, 9, 0, 9);
    }

    @Test
    void windowsComeFromTheFileOrTheArchitectureOrNotAtAll() {
        assertThat(windows(config(layers("gemma2", 2)))).containsExactly(4096, 0);
        assertThat(windows(config(layers("gemma3", 2)))).containsExactly(0, 0);
        assertThat(windows(config(layers("olmo2", 2)))).containsExactly(0, 0);
        // Files of these name a window that the models do without.
        assertThat(windows(config(layers("llama", 2).key("llama.attention.sliding_window", 9))))
                .containsExactly(0, 0);
        assertThat(windows(config(layers("phi3", 2).key("phi3.attention.sliding_window", 9))))
                .containsExactly(0, 0);
    }

    @Test
    void theFileMayNameItsOwnPattern() {
        TinyModel model = layers("gemma3", 4).key("gemma3.attention.sliding_window", 9);
        assertThat(windows(config(model.key("gemma3.attention.sliding_window_pattern", 2))))
                .containsExactly(9, 0, 9, 0);
        assertThat(windows(config(model.key(
                        "gemma3.attention.sliding_window_pattern", new boolean[] {false, true, true, false}))))
                .containsExactly(0, 9, 9, 0);
        assertThat(windows(config(model.key("gemma3.attention.sliding_window_pattern", new int[] {1, 1, 0, 1}))))
                .containsExactly(9, 9, 0, 9);
        assertThatExceptionOfType(UnsupportedModelException.class)
                .isThrownBy(
                        () -> config(model.key("gemma3.attention.sliding_window_pattern", List.of("a", "b", "c", "d"))))
                .withMessageContaining("neither bools nor numbers");
        assertThatExceptionOfType(UnsupportedModelException.class)
                .isThrownBy(
                        () -> config(model.key("gemma3.attention.sliding_window_pattern", new boolean[] {false, true})))
                .withMessageContaining("sliding_window_pattern")
                .withMessageContaining("4 layers");
    }

    @Test
    void windowedLayersOfGemma3RotateByTheirOwnFrequenciesWithoutScaling() {
        ModelConfig config = config(layers("gemma3", 6)
                .key("gemma3.attention.sliding_window", 9)
                .key("gemma3.rope.freq_base", 1e6f)
                .key("gemma3.rope.scaling.type", "linear")
                .key("gemma3.rope.scaling.factor", 8f));
        Rope sliding = rope(config.layerConfigs().getFirst());
        Rope global = rope(config.layerConfigs().getLast());
        assertThat(sliding.inverseFrequencies()[0]).isEqualTo(1);
        assertThat((double) sliding.inverseFrequencies()[1]).isCloseTo(Math.pow(10_000, -2.0 / 16), within(1e-7));
        assertThat(global.inverseFrequencies()[0]).isEqualTo(1 / 8f);
        assertThat((double) global.inverseFrequencies()[1]).isCloseTo(Math.pow(1e6, -2.0 / 16) / 8, within(1e-8));
    }

    @Test
    void windowedLayersOfGemma2RotateLikeTheOthers() {
        ModelConfig config = config(layers("gemma2", 2));
        assertThat(config.layerConfigs().getFirst().rope())
                .isSameAs(config.layerConfigs().getLast().rope());
    }

    private static Rope rope(LayerConfig layer) {
        Rope rope = layer.rope();
        assertThat(rope).isNotNull();
        return rope;
    }

    @Test
    void everyFourthLayerOfSmolLm3DoesNotRotate() {
        assertThat(config(layers("smollm3", 8)).layerConfigs().stream()
                        .map(layer -> layer.rope() != null)
                        .toList())
                .containsExactly(true, true, true, false, true, true, true, false);
    }

    @Test
    void theLargestGemmasDivideScoresByAnotherNumber() {
        TinyModel model = layers("gemma2", 46).key("gemma2.attention.key_length", 8);
        assertThat(config(model).attention().scale()).isEqualTo((float) (1 / Math.sqrt(16)));
        assertThat(config(layers("gemma2", 42).key("gemma2.attention.key_length", 8))
                        .attention()
                        .scale())
                .isEqualTo((float) (1 / Math.sqrt(8)));
        assertThat(config(layers("gemma3", 62).key("gemma3.attention.key_length", 8))
                        .attention()
                        .scale())
                .isEqualTo((float) (1 / Math.sqrt(16)));
    }

    @Test
    void softCapsComeFromTheFileOrTheArchitecture() {
        ModelConfig usual = config(layers("gemma2", 1));
        assertThat(usual.attention().softCap()).isEqualTo(50);
        assertThat(usual.scaling().logitSoftCap()).isEqualTo(30);
        ModelConfig own = config(layers("gemma2", 1)
                .key("gemma2.attn_logit_softcapping", 20f)
                .key("gemma2.final_logit_softcapping", 10f));
        assertThat(own.attention().softCap()).isEqualTo(20);
        assertThat(own.scaling().logitSoftCap()).isEqualTo(10);
        ModelConfig gemma3 = config(layers("gemma3", 1));
        assertThat(gemma3.attention().softCap()).isZero();
        assertThat(gemma3.scaling().logitSoftCap()).isZero();
        assertThat(gemma3.scaling().embedding()).isEqualTo((float) Math.sqrt(32));
    }

    @Test
    void onlyGraniteHasFactors() {
        TinyModel granite = layers("granite", 1)
                .key("granite.embedding_scale", 12f)
                .key("granite.residual_scale", 0.22f)
                .key("granite.attention.scale", 0.015625f)
                .key("granite.logit_scale", 8f);
        assertThat(config(granite).scaling()).isEqualTo(new ModelConfig.Scaling(12, 0.22f, 1 / 8f, 0));
        assertThat(config(granite).attention().scale()).isEqualTo(0.015625f);
        ModelConfig llama = config(layers("llama", 1).key("llama.embedding_scale", 12f));
        assertThat(llama.scaling()).isEqualTo(new ModelConfig.Scaling(1, 1, 1, 0));
    }

    private static TinyModel latent() {
        return layers("deepseek2", 2)
                .key("deepseek2.attention.kv_lora_rank", 16)
                .key("deepseek2.attention.key_length", 20)
                .key("deepseek2.attention.value_length", 16)
                .key("deepseek2.attention.key_length_mla", 12)
                .key("deepseek2.attention.value_length_mla", 8)
                .key("deepseek2.rope.dimension_count", 4);
    }

    @Test
    void allHeadsOfLatentAttentionShareOneShortVector() {
        ModelConfig config = config(latent());
        assertThat(config.latent()).isEqualTo(new LatentShape(0, 16, 12, 4, 8, true));
        assertThat(config.attention()).isEqualTo(new AttentionShape(2, 1, 20, 16, (float) (1 / Math.sqrt(12)), 0, 0));
        assertThat(config.attentionDim()).isEqualTo(2 * 8);
        ModelConfig whole = config(latent().without("deepseek2.attention.key_length_mla")
                .key("deepseek2.attention.key_length", 12)
                .key("deepseek2.attention.value_length", 8));
        assertThat(whole.latent()).isEqualTo(new LatentShape(0, 16, 12, 4, 8, false));
        assertThat(whole.attention()).isEqualTo(new AttentionShape(2, 2, 12, 8, (float) (1 / Math.sqrt(12)), 0, 0));
    }

    @Test
    void yarnScalesTheScoresOfLatentAttentionInPlaceOfTheRotation() {
        TinyModel model = latent().key("deepseek2.rope.scaling.type", "yarn")
                .key("deepseek2.rope.scaling.factor", 40f)
                .key("deepseek2.rope.scaling.yarn_log_multiplier", 0.0707f);
        double magnitude = 1 + 0.0707f * Math.log(40);
        assertThat((double) config(model).attention().scale())
                .isCloseTo(magnitude * magnitude / Math.sqrt(12), within(1e-6));
        assertThat(config(model).rope().magnitude()).isEqualTo(1);
    }

    @Test
    void whatLatentAttentionCannotDoIsRefused() {
        assertThatExceptionOfType(UnsupportedModelException.class)
                .isThrownBy(() -> config(latent().key("deepseek2.attention.temperature_scale", 0.1f)))
                .withMessageContaining("attention.temperature_scale");
        assertThatExceptionOfType(UnsupportedModelException.class)
                .isThrownBy(() -> config(latent().key("deepseek2.rope.dimension_count", 12)))
                .withMessageContaining("rope.dimension_count");
        assertThatExceptionOfType(UnsupportedModelException.class)
                .isThrownBy(() -> config(latent().key("deepseek2.attention.kv_lora_rank", 63)))
                .withMessageContaining("attention.kv_lora_rank");
    }

    @Test
    void theFileSaysHowExpertsAreChosen() {
        TinyModel model = latent().key("deepseek2.expert_count", 8)
                .key("deepseek2.expert_used_count", 2)
                .key("deepseek2.leading_dense_block_count", 1);
        ModelConfig config = config(model);
        assertThat(config.routing()).isEqualTo(new ExpertRouting(ExpertRouting.Score.SOFTMAX, false, 1, 1, 1));
        assertThat(config.layerConfigs()).extracting(LayerConfig::experts).containsExactly(false, true);
        model.key("deepseek2.expert_gating_func", 2)
                .key("deepseek2.expert_weights_norm", true)
                .key("deepseek2.expert_weights_scale", 2.5f)
                .key("deepseek2.expert_group_count", 4)
                .key("deepseek2.expert_group_used_count", 2);
        assertThat(config(model).routing()).isEqualTo(new ExpertRouting(ExpertRouting.Score.SIGMOID, true, 2.5f, 4, 2));
        assertThatExceptionOfType(UnsupportedModelException.class)
                .isThrownBy(() -> config(model.key("deepseek2.expert_group_used_count", 5)))
                .withMessageContaining("5 of 4 groups");
        assertThatExceptionOfType(UnsupportedModelException.class)
                .isThrownBy(() -> config(model.key("deepseek2.expert_gating_func", 4)))
                .withMessageContaining("expert_gating_func");
    }

    @Test
    void fusedMatricesAreCutByRows() {
        TinyModel model = new TinyModel()
                .as("phi3")
                .without("blk.0.attn_q.weight")
                .without("blk.0.attn_k.weight")
                .without("blk.0.attn_v.weight")
                .without("blk.0.ffn_gate.weight")
                .tensor("blk.0.attn_qkv.weight", 32, 64)
                .tensor("blk.0.ffn_up.weight", 32, 128);
        graph(model, (file, graph) -> {
            GgufTensor qkv = file.find("blk.0.attn_qkv.weight").orElseThrow();
            WeightBlock attention = graph.attention(0);
            assertPart(attention, TensorRole.ATTENTION_Q, qkv, 0, 32);
            assertPart(attention, TensorRole.ATTENTION_K, qkv, 32, 16);
            assertPart(attention, TensorRole.ATTENTION_V, qkv, 48, 16);
            GgufTensor up = file.find("blk.0.ffn_up.weight").orElseThrow();
            assertPart(graph.feedForward(0), TensorRole.FFN_GATE, up, 0, 64);
            assertPart(graph.feedForwardUp(0), TensorRole.FFN_UP, up, 64, 64);
        });
    }

    private static void assertPart(WeightBlock block, TensorRole role, GgufTensor whole, int firstRow, int rows) {
        BlockTensor part = block.find(role).orElseThrow();
        assertThat(part.rows()).isEqualTo(rows);
        assertThat(part.cols()).isEqualTo(32);
        assertThat(part.fileOffset()).isEqualTo(whole.offset() + firstRow * 32 * 4);
        assertThat(part.byteSize()).isEqualTo(rows * 32 * 4);
    }

    @Test
    void aNetworkBesideTheExpertsIsThreeBlocksInFrontOfThem() {
        TinyModel model = new TinyModel()
                .withExperts()
                .key("llama.expert_shared_feed_forward_length", 48)
                .as("qwen2moe")
                .tensor("blk.0.ffn_gate_inp_shexp.weight", 32)
                .tensor("blk.0.ffn_gate_shexp.weight", 32, 48)
                .tensor("blk.0.ffn_up_shexp.weight", 32, 48)
                .tensor("blk.0.ffn_down_shexp.weight", 48, 32);
        graph(model, (file, graph) -> {
            assertThat(graph.blocks())
                    .extracting(WeightBlock::label)
                    .containsExactly(
                            "embed",
                            "L00.attn",
                            "L00.router",
                            "L00.up",
                            "L00.down",
                            "L00.e0",
                            "L00.e1",
                            "L00.e2",
                            "L00.e3",
                            "output");
            assertThat(graph.feedForward(0).find(TensorRole.FFN_SHARED_SCORE)).isPresent();
        });
    }

    @Test
    void biasesOfExpertsAreCutOutOfTheirCommonTensor() {
        TinyModel model = new TinyModel().withExperts().tensor("blk.0.ffn_up_exps.bias", 64, 4);
        graph(model, (file, graph) -> {
            long whole = file.find("blk.0.ffn_up_exps.bias").orElseThrow().offset();
            IntStream.range(0, 4).forEach(expert -> {
                BlockTensor bias =
                        graph.expert(0, expert).find(TensorRole.FFN_UP_BIAS).orElseThrow();
                assertThat(bias.fileOffset()).isEqualTo(whole + expert * 64 * 4);
                assertThat(bias.byteSize()).isEqualTo(64 * 4);
            });
        });
    }

    /** Layers of linear attention with two key heads and four value heads of four, and of attention between them. */
    private static TinyModel hybrid(int layers) {
        return layers("qwen35", layers)
                .key("qwen35.attention.key_length", 16)
                .key("qwen35.rope.dimension_count", 8)
                .key("qwen35.ssm.state_size", 4)
                .key("qwen35.ssm.group_count", 2)
                .key("qwen35.ssm.time_step_rank", 4)
                .key("qwen35.ssm.inner_size", 16)
                .key("qwen35.ssm.conv_kernel", 4);
    }

    private static List<Boolean> linear(ModelConfig config) {
        return config.layerConfigs().stream()
                .map(layer -> layer.attention() == null)
                .toList();
    }

    @Test
    void theLastLayerOfAPeriodHasAttentionUnlessTheFileMarksTheOthers() {
        assertThat(linear(config(hybrid(6)))).containsExactly(true, true, true, false, true, true);
        assertThat(linear(config(hybrid(4).key("qwen35.full_attention_interval", 2))))
                .containsExactly(true, false, true, false);
        assertThat(linear(config(
                        hybrid(4).key("qwen35.attention.recurrent_layers", new boolean[] {false, true, false, true}))))
                .containsExactly(false, true, false, true);
        assertThatExceptionOfType(UnsupportedModelException.class)
                .isThrownBy(() -> config(hybrid(4).key("qwen35.attention.recurrent_layers", new boolean[] {true})))
                .withMessageContaining("recurrent_layers")
                .withMessageContaining("4 layers");
    }

    @Test
    void layersThatGuessAheadAreLeftOut() {
        ModelConfig config = config(hybrid(5).key("qwen35.nextn_predict_layers", 1));
        assertThat(config.layers()).isEqualTo(4);
        assertThat(config.guessingLayers()).isEqualTo(1);
        assertThat(linear(config)).containsExactly(true, true, true, false);
        assertThatExceptionOfType(UnsupportedModelException.class)
                .isThrownBy(() -> config(hybrid(2).key("qwen35.nextn_predict_layers", 2)))
                .withMessageContaining("nextn_predict_layers");
        TinyModel model = attentionAlone(2).key("qwen35.nextn_predict_layers", 1);
        graph(
                model.tensor("blk.1.nextn.eh_proj.weight", 64, 32).tensor("blk.1.attn_q.weight", 32, 64),
                (file, graph) -> assertThat(graph.blocks().stream().map(WeightBlock::layer))
                        .doesNotContain(1));
        assertThatExceptionOfType(UnsupportedModelException.class)
                .isThrownBy(() -> graph(model.tensor("blk.10.attn_q.weight", 32, 64), (file, graph) -> {}))
                .withMessageContaining("blk.10.attn_q.weight");
    }

    /** One layer of attention with its gate; of further ones there are no tensors. */
    private static TinyModel attentionAlone(int layers) {
        return new TinyModel()
                .as("qwen35")
                .key("qwen35.block_count", layers)
                .key("qwen35.full_attention_interval", 1)
                .key("qwen35.ssm.state_size", 4)
                .key("qwen35.ssm.group_count", 2)
                .key("qwen35.ssm.time_step_rank", 4)
                .key("qwen35.ssm.inner_size", 16)
                .key("qwen35.ssm.conv_kernel", 4)
                .tensor("blk.0.attn_q.weight", 32, 64)
                .tensor("blk.0.attn_q_norm.weight", 16)
                .tensor("blk.0.attn_k_norm.weight", 16)
                .without("blk.0.ffn_norm.weight")
                .tensor("blk.0.post_attention_norm.weight", 32);
    }

    @Test
    void queriesCarryTheGateOfAttention() {
        graph(
                attentionAlone(1),
                (file, graph) -> assertThat(graph.attention(0)
                                .find(TensorRole.ATTENTION_Q)
                                .orElseThrow()
                                .rows())
                        .isEqualTo(64));
        assertThatExceptionOfType(UnsupportedModelException.class)
                .isThrownBy(() -> config(hybrid(4).key("qwen35.attention.value_length", 8)))
                .withMessageContaining("attention.value_length");
    }

    @Test
    void linearAttentionHasAShapeThatFitsItself() {
        DeltaShape shape = config(hybrid(4)).delta();
        assertThat(shape).isEqualTo(new DeltaShape(2, 4, 4, 4, true));
        assertThat(config(layers("qwen3", 1)).delta()).isNull();
        for (Map.Entry<String, Integer> wrong : Map.of(
                        "ssm.group_count",
                        3,
                        "ssm.inner_size",
                        20,
                        "ssm.state_size",
                        1 << 20,
                        "ssm.conv_kernel",
                        1 << 20)
                .entrySet()) {
            assertThatExceptionOfType(UnsupportedModelException.class)
                    .isThrownBy(() -> config(hybrid(4).key("qwen35." + wrong.getKey(), wrong.getValue())))
                    .withMessageContaining("key 'qwen35.ssm.");
        }
    }

    @Test
    void aTextTurnsEveryPairOfARotationInParts() {
        String key = "qwen35.rope.dimension_sections";
        assertThat(config(hybrid(4).key(key, new int[] {2, 1, 1, 0})).rope().rotatedDimensions())
                .isEqualTo(8);
        for (Object wrong : List.of(new int[] {1, 1, 1, 1}, new int[] {0, 2, 2, 0}, new int[] {2, 1, -1})) {
            assertThatExceptionOfType(UnsupportedModelException.class)
                    .isThrownBy(() -> config(hybrid(4).key(key, wrong)))
                    .withMessageContaining("dimension_sections");
        }
    }
}
