package dev.prefetch.spring.autoconfigure;

import dev.prefetch.spring.PrefetchChatOptions;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.springframework.boot.context.properties.ConfigurationProperties;
import org.springframework.boot.context.properties.bind.DefaultValue;

/**
 * The starter's properties. What is unset is left to the engine.
 *
 * @param model GGUF file of the model: a path, a 'file:' or 'classpath:' location, or the name of a
 *     model that another tool has downloaded, such as 'hf:OWNER/REPOSITORY:Q4_K_M' or 'ollama:NAME:TAG'. Nothing is ever
 *     downloaded.
 * @param cacheDirectory Folder into which a model inside a jar is extracted. By default the user's cache folder.
 * @param contextLength Most tokens of prompt and answer together. By default what the model was trained for, but at
 *     most 4096.
 * @param threads Compute threads. By default one per available processor.
 * @param backend What computes: 'auto', or a backend's identifier. By default 'auto'.
 * @param lookAhead Weight blocks to fetch ahead of compute when the model does not fit into memory: 'auto' or a
 *     number. By default 'auto'.
 * @param bufferSize Memory for weight blocks on their way when the model does not fit into memory: 'auto' or a size.
 *     By default 'auto'.
 * @param memory How much memory the engine may use.
 * @param maxConcurrency Most generations that run at the same time; more wait in the queue. By default 8.
 * @param ubatch Most tokens the engine computes in one pass over the weights. By default 512.
 * @param traceSweeps How many of the last passes over the weights the trace of the 'prefetch' endpoint shows. By default 0,
 *     which records none.
 * @param lora LoRA adapters in GGUF files, whose changes are added to the model's in this order. By default none.
 * @param chat Default options of chat requests.
 */
@ConfigurationProperties(PrefetchProperties.PREFIX)
public record PrefetchProperties(
        @Nullable String model,
        @Nullable Path cacheDirectory,
        @Nullable Integer contextLength,
        @Nullable Integer threads,
        @Nullable String backend,
        @Nullable String lookAhead,
        @Nullable String bufferSize,
        @DefaultValue Memory memory,
        @Nullable Integer maxConcurrency,
        @Nullable Integer ubatch,
        @Nullable Integer traceSweeps,
        @DefaultValue List<Lora> lora,
        @DefaultValue Chat chat) {

    /** Where all properties of the starter are. */
    public static final String PREFIX = "spring.ai.prefetch";

    /**
     * How much memory the engine may use.
     *
     * @param ram Whole budget of the engine for weights, KV cache and activations: a size such as '3GiB', or a share of
     *     the available memory such as '60%'. By default what the machine or the container has free, less a reserve.
     * @param weights Part of the budget for weights that stay in memory and for slots: a size, or a share of the model
     *     such as '40%'. Less than the model forces streaming. By default what the budget leaves.
     * @param expertCache Part of it for experts that are kept because they are asked for often: a size, or a share of the
     *     model; 0 to keep none. By default what is left.
     */
    public record Memory(
            @Nullable String ram,
            @Nullable String weights,
            @Nullable String expertCache) {}

    /**
     * A LoRA adapter.
     *
     * @param path GGUF file of the adapter: a path or a 'file:' location.
     * @param scale Factor on what the adapter changes. By default 1.
     */
    public record Lora(
            @Nullable String path, @DefaultValue("1.0") float scale) {}

    /**
     * Default options of chat requests.
     *
     * @param temperature How freely tokens are chosen; 0 always chooses the most likely one. By default 0.8.
     * @param topP Choose among the most likely tokens whose probabilities together reach this; 1 for all. By default
     *     0.95.
     * @param topK Choose among this many of the most likely tokens; 0 for all. By default 40.
     * @param minP Choose among tokens at least this many times as likely as the most likely one; 0 for all. By default
     *     0.05.
     * @param maxTokens Most tokens of an answer. By default as many as the context has room for.
     * @param stopSequences Texts that end the answer and are not part of it.
     * @param seed Seed of the draw, for answers that can be repeated. By default another one per request.
     * @param repetitionPenalty Makes tokens of the recent text less likely; 1 for off. By default 1.
     * @param presencePenalty Makes tokens that were generated before less likely; 0 for off. By default 0.
     * @param frequencyPenalty Makes tokens less likely each time they are generated; 0 for off. By default 0.
     * @param enableThinking Whether the model should reason before it answers, if its chat template knows how to ask. By
     *     default what the template does by itself.
     * @param thinkingInContent Whether reasoning stays part of the answer's text; it is in the metadata in any case. By
     *     default it does not.
     * @param templateVariables Extra variables for the model's chat template, for example 'enable_thinking: false'.
     */
    public record Chat(
            @Nullable Double temperature,
            @Nullable Double topP,
            @Nullable Integer topK,
            @Nullable Double minP,
            @Nullable Integer maxTokens,
            @Nullable List<String> stopSequences,
            @Nullable Long seed,
            @Nullable Double repetitionPenalty,
            @Nullable Double presencePenalty,
            @Nullable Double frequencyPenalty,
            @Nullable Boolean enableThinking,
            @Nullable Boolean thinkingInContent,
            @Nullable Map<String, Object> templateVariables) {

        /**
         * These properties as chat options.
         *
         * @throws org.springframework.boot.diagnostics.FailureAnalyzedException for a value out of its range
         */
        PrefetchChatOptions toOptions() {
            check("temperature", temperature, temperature == null || temperature >= 0, "at least 0");
            check("top-p", topP, topP == null || topP > 0 && topP <= 1, "above 0 and at most 1");
            check("top-k", topK, topK == null || topK >= 0, "at least 0");
            check("min-p", minP, minP == null || minP >= 0 && minP <= 1, "in 0 to 1");
            check("max-tokens", maxTokens, maxTokens == null || maxTokens >= 1, "at least 1");
            check(
                    "repetition-penalty",
                    repetitionPenalty,
                    repetitionPenalty == null || repetitionPenalty > 0,
                    "above 0");
            check("presence-penalty", presencePenalty, isFinite(presencePenalty), "a number");
            check("frequency-penalty", frequencyPenalty, isFinite(frequencyPenalty), "a number");
            check(
                    "stop-sequences",
                    stopSequences,
                    stopSequences == null || stopSequences.stream().noneMatch(String::isEmpty),
                    "texts that are not empty");
            return PrefetchChatOptions.builder()
                    .temperature(temperature)
                    .topP(topP)
                    .topK(topK)
                    .minP(minP)
                    .maxTokens(maxTokens)
                    .stopSequences(stopSequences)
                    .seed(seed)
                    .repetitionPenalty(repetitionPenalty)
                    .presencePenalty(presencePenalty)
                    .frequencyPenalty(frequencyPenalty)
                    .enableThinking(enableThinking)
                    .thinkingInContent(thinkingInContent)
                    .templateVariables(typed(templateVariables))
                    .build();
        }

        private static boolean isFinite(@Nullable Double value) {
            return value == null || Double.isFinite(value);
        }

        private static void check(String name, @Nullable Object value, boolean valid, String range) {
            if (!valid) {
                throw StartupFailure.invalidProperty("chat." + name, value, range);
            }
        }

        /** A properties file has only texts, and in a template the text "false" is true. */
        private static @Nullable Map<String, Object> typed(@Nullable Map<String, Object> variables) {
            if (variables == null) {
                return null;
            }
            Map<String, Object> typed = new HashMap<>(variables);
            typed.replaceAll((name, value) ->
                    "true".equals(value) || "false".equals(value) ? (Object) Boolean.valueOf(value.toString()) : value);
            return typed;
        }
    }
}
