package dev.prefetch.spring;

import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import org.springframework.ai.chat.prompt.ChatOptions;
import org.springframework.ai.model.tool.DefaultToolCallingChatOptions;
import org.springframework.ai.model.tool.StructuredOutputChatOptions;
import org.springframework.ai.model.tool.ToolCallingChatOptions;
import org.springframework.ai.tool.ToolCallback;

/**
 * Options of {@link PrefetchChatModel}: Spring AI's portable ones, and those that only this engine has. Immutable;
 * {@code null} means unset, and an unset option takes the model's default
 * ({@link PrefetchChatModel#getOptions()}), then the {@code DEFAULT_} constant of this class.
 */
public final class PrefetchChatOptions extends DefaultToolCallingChatOptions implements StructuredOutputChatOptions {

    /** Temperature when none is set. */
    public static final double DEFAULT_TEMPERATURE = 0.8;

    /** Top-k when none is set. */
    public static final int DEFAULT_TOP_K = 40;

    /** Top-p when none is set. */
    public static final double DEFAULT_TOP_P = 0.95;

    /** Min-p when none is set. */
    public static final double DEFAULT_MIN_P = 0.05;

    private final @Nullable Double minP;
    private final @Nullable Double repetitionPenalty;
    private final @Nullable Long seed;
    private final @Nullable String outputSchema;
    private final @Nullable String grammar;
    private final @Nullable Map<String, Object> templateVariables;
    private final @Nullable Boolean enableThinking;
    private final @Nullable Boolean thinkingInContent;
    private final @Nullable Duration timeout;

    private PrefetchChatOptions(
            @Nullable List<ToolCallback> toolCallbacks,
            @Nullable Map<String, Object> toolContext,
            @Nullable String model,
            @Nullable Double frequencyPenalty,
            @Nullable Integer maxTokens,
            @Nullable Double presencePenalty,
            @Nullable List<String> stopSequences,
            @Nullable Double temperature,
            @Nullable Integer topK,
            @Nullable Double topP,
            Builder builder) {
        super(
                toolCallbacks,
                toolContext,
                model,
                frequencyPenalty,
                maxTokens,
                presencePenalty,
                stopSequences,
                temperature,
                topK,
                topP);
        this.minP = builder.minP;
        this.repetitionPenalty = builder.repetitionPenalty;
        this.seed = builder.seed;
        this.outputSchema = builder.outputSchema;
        this.grammar = builder.grammar;
        this.templateVariables = builder.templateVariables == null ? null : Map.copyOf(builder.templateVariables);
        this.enableThinking = builder.enableThinking;
        this.thinkingInContent = builder.thinkingInContent;
        this.timeout = builder.timeout;
    }

    /** A builder with nothing set. */
    public static Builder builder() {
        return new Builder();
    }

    /**
     * Options of any kind as options of this class. What this class does not know is left out.
     */
    public static PrefetchChatOptions from(ChatOptions options) {
        if (options instanceof PrefetchChatOptions same) {
            return same;
        }
        Builder builder = builder()
                .model(options.getModel())
                .frequencyPenalty(options.getFrequencyPenalty())
                .maxTokens(options.getMaxTokens())
                .presencePenalty(options.getPresencePenalty())
                .stopSequences(options.getStopSequences())
                .temperature(options.getTemperature())
                .topK(options.getTopK())
                .topP(options.getTopP());
        if (options instanceof ToolCallingChatOptions tools) {
            builder.toolCallbacks(tools.getToolCallbacks()).toolContext(tools.getToolContext());
        }
        if (options instanceof StructuredOutputChatOptions structured) {
            builder.outputSchema(structured.getOutputSchema());
        }
        return builder.build();
    }

    /** Tokens less than this many times as likely as the most likely one are never chosen; in [0, 1], 0 for off. */
    public @Nullable Double getMinP() {
        return minP;
    }

    /** Makes tokens of the recent text less likely; above 0, 1 for off. */
    public @Nullable Double getRepetitionPenalty() {
        return repetitionPenalty;
    }

    /** Seed of the draw; unset for another one per request. */
    public @Nullable Long getSeed() {
        return seed;
    }

    /**
     * JSON schema that the answer follows: only tokens that lead to a valid value are chosen, and the model is told the
     * schema. An answer that ends because of {@link #getMaxTokens()} is cut. With tools, the answer may be tool calls
     * instead; with reasoning, that comes first.
     */
    @Override
    public @Nullable String getOutputSchema() {
        return outputSchema;
    }

    /** GBNF grammar that the answer follows, as {@link #getOutputSchema()} otherwise; the two exclude each other. */
    public @Nullable String getGrammar() {
        return grammar;
    }

    /** Extra variables for the model's chat template, for example {@code enable_thinking}. */
    public @Nullable Map<String, Object> getTemplateVariables() {
        return templateVariables;
    }

    /**
     * Whether the model should reason before it answers, given to its chat template as {@code enable_thinking} and
     * {@code thinking}; unset for what the template does by itself. Templates that know neither ignore it.
     */
    public @Nullable Boolean getEnableThinking() {
        return enableThinking;
    }

    /**
     * Whether reasoning, with its tags, stays part of the content; unset for no. It is in the message's metadata under
     * {@value PrefetchChatModel#THINKING} in any case.
     */
    public @Nullable Boolean getThinkingInContent() {
        return thinkingInContent;
    }

    /** How long the request may take, waiting included, before it fails; unset for as long as it takes. */
    public @Nullable Duration getTimeout() {
        return timeout;
    }

    /** These options with what is unset taken from others. */
    PrefetchChatOptions withDefaults(PrefetchChatOptions defaults) {
        return builder()
                .model(firstSet(getModel(), defaults.getModel()))
                .frequencyPenalty(firstSet(getFrequencyPenalty(), defaults.getFrequencyPenalty()))
                .maxTokens(firstSet(getMaxTokens(), defaults.getMaxTokens()))
                .presencePenalty(firstSet(getPresencePenalty(), defaults.getPresencePenalty()))
                .stopSequences(firstSet(getStopSequences(), defaults.getStopSequences()))
                .temperature(firstSet(getTemperature(), defaults.getTemperature()))
                .topK(firstSet(getTopK(), defaults.getTopK()))
                .topP(firstSet(getTopP(), defaults.getTopP()))
                .minP(firstSet(minP, defaults.minP))
                .repetitionPenalty(firstSet(repetitionPenalty, defaults.repetitionPenalty))
                .seed(firstSet(seed, defaults.seed))
                .outputSchema(firstSet(outputSchema, defaults.outputSchema))
                .grammar(firstSet(grammar, defaults.grammar))
                .templateVariables(firstSet(templateVariables, defaults.templateVariables))
                .enableThinking(firstSet(enableThinking, defaults.enableThinking))
                .thinkingInContent(firstSet(thinkingInContent, defaults.thinkingInContent))
                .timeout(firstSet(timeout, defaults.timeout))
                .toolCallbacks(firstSet(getToolCallbacks(), defaults.getToolCallbacks()))
                .toolContext(firstSet(getToolContext(), defaults.getToolContext()))
                .build();
    }

    private static <T> @Nullable T firstSet(@Nullable T value, @Nullable T fallback) {
        return value != null ? value : fallback;
    }

    @Override
    public Builder mutate() {
        return builder()
                .model(getModel())
                .frequencyPenalty(getFrequencyPenalty())
                .maxTokens(getMaxTokens())
                .presencePenalty(getPresencePenalty())
                .stopSequences(getStopSequences())
                .temperature(getTemperature())
                .topK(getTopK())
                .topP(getTopP())
                .minP(minP)
                .repetitionPenalty(repetitionPenalty)
                .seed(seed)
                .outputSchema(outputSchema)
                .grammar(grammar)
                .templateVariables(templateVariables)
                .enableThinking(enableThinking)
                .thinkingInContent(thinkingInContent)
                .timeout(timeout)
                .toolCallbacks(getToolCallbacks())
                .toolContext(getToolContext());
    }

    @Override
    public boolean equals(@Nullable Object other) {
        return super.equals(other)
                && other instanceof PrefetchChatOptions that
                && Objects.equals(minP, that.minP)
                && Objects.equals(repetitionPenalty, that.repetitionPenalty)
                && Objects.equals(seed, that.seed)
                && Objects.equals(outputSchema, that.outputSchema)
                && Objects.equals(grammar, that.grammar)
                && Objects.equals(templateVariables, that.templateVariables)
                && Objects.equals(enableThinking, that.enableThinking)
                && Objects.equals(thinkingInContent, that.thinkingInContent)
                && Objects.equals(timeout, that.timeout);
    }

    @Override
    public int hashCode() {
        return Objects.hash(
                super.hashCode(),
                minP,
                repetitionPenalty,
                seed,
                outputSchema,
                grammar,
                templateVariables,
                enableThinking,
                thinkingInContent,
                timeout);
    }

    /** Builds {@link PrefetchChatOptions}. Not thread-safe. */
    public static final class Builder extends DefaultToolCallingChatOptions.Builder<Builder>
            implements StructuredOutputChatOptions.Builder<Builder> {

        private @Nullable Double minP;
        private @Nullable Double repetitionPenalty;
        private @Nullable Long seed;
        private @Nullable String outputSchema;
        private @Nullable String grammar;
        private @Nullable Map<String, Object> templateVariables;
        private @Nullable Boolean enableThinking;
        private @Nullable Boolean thinkingInContent;
        private @Nullable Duration timeout;

        private Builder() {}

        /** See {@link PrefetchChatOptions#getTimeout()}. */
        public Builder timeout(@Nullable Duration value) {
            this.timeout = value;
            return this;
        }

        /** See {@link PrefetchChatOptions#getMinP()}. */
        public Builder minP(@Nullable Double value) {
            this.minP = value;
            return this;
        }

        /** See {@link PrefetchChatOptions#getRepetitionPenalty()}. */
        public Builder repetitionPenalty(@Nullable Double value) {
            this.repetitionPenalty = value;
            return this;
        }

        /** See {@link PrefetchChatOptions#getSeed()}. */
        public Builder seed(@Nullable Long value) {
            this.seed = value;
            return this;
        }

        /** See {@link PrefetchChatOptions#getOutputSchema()}. */
        @Override
        public Builder outputSchema(@Nullable String value) {
            this.outputSchema = value;
            return this;
        }

        /** See {@link PrefetchChatOptions#getGrammar()}. */
        public Builder grammar(@Nullable String value) {
            this.grammar = value;
            return this;
        }

        /** See {@link PrefetchChatOptions#getTemplateVariables()}. Replaces all variables set before. */
        public Builder templateVariables(@Nullable Map<String, Object> value) {
            this.templateVariables = value == null ? null : new HashMap<>(value);
            return this;
        }

        /** See {@link PrefetchChatOptions#getEnableThinking()}. */
        public Builder enableThinking(@Nullable Boolean value) {
            this.enableThinking = value;
            return this;
        }

        /** See {@link PrefetchChatOptions#getThinkingInContent()}. */
        public Builder thinkingInContent(@Nullable Boolean value) {
            this.thinkingInContent = value;
            return this;
        }

        @Override
        public Builder clone() {
            Builder copy = super.clone();
            copy.templateVariables(templateVariables);
            return copy;
        }

        @Override
        public Builder combineWith(ChatOptions.Builder<?> other) {
            super.combineWith(other);
            if (other instanceof Builder that) {
                minP = firstSet(that.minP, minP);
                repetitionPenalty = firstSet(that.repetitionPenalty, repetitionPenalty);
                seed = firstSet(that.seed, seed);
                outputSchema = firstSet(that.outputSchema, outputSchema);
                grammar = firstSet(that.grammar, grammar);
                enableThinking = firstSet(that.enableThinking, enableThinking);
                thinkingInContent = firstSet(that.thinkingInContent, thinkingInContent);
                timeout = firstSet(that.timeout, timeout);
                if (that.templateVariables != null) {
                    Map<String, Object> merged = new HashMap<>();
                    if (templateVariables != null) {
                        merged.putAll(templateVariables);
                    }
                    merged.putAll(that.templateVariables);
                    templateVariables = merged;
                }
            } else if (other.build() instanceof StructuredOutputChatOptions structured) {
                outputSchema = firstSet(structured.getOutputSchema(), outputSchema);
            }
            return this;
        }

        @Override
        public PrefetchChatOptions build() {
            return new PrefetchChatOptions(
                    toolCallbacks,
                    toolContext,
                    model,
                    frequencyPenalty,
                    maxTokens,
                    presencePenalty,
                    stopSequences,
                    temperature,
                    topK,
                    topP,
                    this);
        }
    }
}
