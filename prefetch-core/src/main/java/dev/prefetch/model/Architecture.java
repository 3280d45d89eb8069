package dev.prefetch.model;

import dev.prefetch.backend.Rope.Layout;
import dev.prefetch.model.Traits.Activation;
import dev.prefetch.model.Traits.DeltaHeads;
import dev.prefetch.model.Traits.HeadNorms;
import dev.prefetch.model.Traits.LayerNorms;
import dev.prefetch.model.Traits.Routing;
import java.util.Arrays;
import java.util.Optional;
import java.util.stream.Collectors;

/**
 * The supported architectures: each is one description of what it does beyond a plain pre-norm decoder with grouped-query
 * attention, or a plain encoder. What a single file decides (biases, fused matrices, a tied output, experts, scaling of the
 * rotation) is recognised by its tensors and keys.
 */
public enum Architecture {
    LLAMA("llama", "Llama 2 and 3, Mistral, TinyLlama, SmolLM 2; Mixtral", Traits.rotating(Layout.ADJACENT)),

    QWEN2("qwen2", "Qwen 2 and 2.5", Traits.rotating(Layout.HALVES)),

    QWEN2_MOE(
            "qwen2moe",
            "Qwen 1.5 and 2 mixtures of experts",
            Traits.rotating(Layout.HALVES).with(Routing.SOFTMAX_OVER_ALL)),

    QWEN3("qwen3", "Qwen 3", Traits.rotating(Layout.HALVES).with(HeadNorms.EACH_HEAD)),

    QWEN3_MOE(
            "qwen3moe",
            "Qwen 3 mixtures of experts",
            Traits.rotating(Layout.HALVES).with(HeadNorms.EACH_HEAD)),

    GEMMA2(
            "gemma2",
            "Gemma 2",
            Traits.rotating(Layout.HALVES)
                    .with(LayerNorms.BEFORE_AND_AFTER)
                    .with(Activation.GEGLU)
                    .scalingTheEmbedding()
                    .sliding(2, 4096)
                    .softCaps(50, 30)),

    GEMMA3(
            "gemma3",
            "Gemma 3 (text)",
            Traits.rotating(Layout.HALVES)
                    .with(LayerNorms.BEFORE_AND_AFTER)
                    .with(HeadNorms.EACH_HEAD)
                    .with(Activation.GEGLU)
                    .scalingTheEmbedding()
                    .sliding(6, 0)
                    .slidingUnscaled(10_000)),

    /** Files name a window that the reference implementation does not apply either. */
    PHI3("phi3", "Phi-3, Phi-3.5, Phi-4", Traits.rotating(Layout.HALVES)),

    GPT_OSS(
            "gpt-oss",
            "gpt-oss",
            Traits.rotating(Layout.HALVES)
                    .with(Activation.CLAMPED_SWIGLU)
                    .with(LayerNorms.BEFORE_BY_ANOTHER_NAME)
                    .withSinks()
                    .sliding(2, 0)),

    GRANITE("granite", "Granite 3 (dense)", Traits.rotating(Layout.ADJACENT).withMultipliers()),

    /** The windows are OLMo 3's. */
    OLMO2(
            "olmo2",
            "OLMo 2 and 3",
            Traits.rotating(Layout.HALVES)
                    .with(LayerNorms.AFTER)
                    .with(HeadNorms.ALL_HEADS)
                    .sliding(4, 0)
                    .slidingUnscaled(0)),

    SMOLLM3("smollm3", "SmolLM 3", Traits.rotating(Layout.ADJACENT).leavingOutRotationEvery(4)),

    DEEPSEEK2(
            "deepseek2",
            "DeepSeek V2, V3, R1 and their Lite models; Kimi K2",
            Traits.rotating(Layout.ADJACENT).withLatentAttention().with(Routing.OF_THE_FILE)),

    QWEN3_NEXT(
            "qwen3next",
            "Qwen 3 Next",
            Traits.rotating(Layout.HALVES)
                    .with(HeadNorms.EACH_HEAD)
                    .with(LayerNorms.BEFORE_BY_ANOTHER_NAME)
                    .with(DeltaHeads.SIDE_BY_SIDE)),

    QWEN35(
            "qwen35",
            "Qwen 3.5 and 3.6 (text)",
            Traits.rotating(Layout.HALVES)
                    .with(HeadNorms.EACH_HEAD)
                    .with(LayerNorms.BEFORE_BY_ANOTHER_NAME)
                    .with(DeltaHeads.INTERLEAVED)),

    QWEN35_MOE(
            "qwen35moe",
            "Qwen 3.5 and 3.6 mixtures of experts (text)",
            Traits.rotating(Layout.HALVES)
                    .with(HeadNorms.EACH_HEAD)
                    .with(LayerNorms.BEFORE_BY_ANOTHER_NAME)
                    .with(DeltaHeads.INTERLEAVED)),

    BERT(
            "bert",
            "BERT, RoBERTa and XLM-RoBERTa for embeddings: all-MiniLM, BGE, E5, GTE, Arctic Embed",
            Traits.encoding().with(Activation.GELU).withLearntPositions()),

    NOMIC_BERT("nomic-bert", "Nomic Embed Text 1 and 1.5", Traits.encoding()),

    NOMIC_BERT_MOE(
            "nomic-bert-moe",
            "Nomic Embed Text 2",
            Traits.encoding().with(Activation.GELU).with(Routing.SOFTMAX_OVER_ALL));

    private final String id;
    private final String models;
    private final Traits traits;

    Architecture(String id, String models, Traits.Builder traits) {
        this.id = id;
        this.models = models;
        this.traits = traits.build();
    }

    /** Value of {@code general.architecture}, and the prefix of the file's hyper-parameter keys. */
    public String id() {
        return id;
    }

    /** The models that are published as this, for people. */
    public String models() {
        return models;
    }

    /** What it does. */
    public Traits traits() {
        return traits;
    }

    /** The architecture with that identifier. */
    public static Optional<Architecture> find(String id) {
        return Arrays.stream(values()).filter(a -> a.id.equals(id)).findFirst();
    }

    /** Identifiers of all supported architectures, for messages. */
    public static String supported() {
        return Arrays.stream(values()).map(Architecture::id).collect(Collectors.joining(", "));
    }
}
