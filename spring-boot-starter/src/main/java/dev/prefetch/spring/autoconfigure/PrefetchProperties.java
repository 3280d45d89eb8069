package dev.prefetch.spring.autoconfigure;

import dev.prefetch.api.KvCacheType;
import dev.prefetch.inference.Pooling;
import dev.prefetch.inference.Speculation;
import dev.prefetch.spring.ChatFallback;
import dev.prefetch.spring.PrefetchChatOptions;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import org.springframework.ai.document.MetadataMode;
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
 * @param cuda How a CUDA device is used.
 * @param maxConcurrency Most generations that run at the same time, and as many requests for vectors; more wait in the
 *     queue. By default 8.
 * @param kvCacheType What the KV cache keeps keys and values as: 'f32', 'f16' with half the bytes, or 'q8_0' with 27 % of
 *     them. By default 'f32'.
 * @param ubatch Most tokens the engine computes in one pass over the weights. By default 512.
 * @param ubatchBesideDecode Most prompt tokens of a pass that also generates for others, who wait for its end. By default as many
 *     as are computed while weights are read, and at least 64.
 * @param queueLimit Most generations that wait because as many run as may, and as many requests for vectors; further ones are
 *     refused. By default there is no
 *     limit, but for the bulkhead where Resilience4j is there.
 * @param promptCache Most of the KV cache that earlier prompts may keep for later ones that begin alike: a size, or a share of
 *     the KV cache; 0 to keep none. By default what running requests leave.
 * @param promptCacheFile File that keeps them when the application ends, for its next start with the same model; each model needs
 *     its own. It holds what users wrote. By default there is none.
 * @param speculation Whether tokens are guessed from the prompt and verified together: 'auto' where it pays, 'on' or 'off'.
 *     The answer is the same. By default 'auto'.
 * @param traceSweeps How many of the last passes over the weights the trace of the 'prefetch' endpoint shows. By default 0,
 *     which records none.
 * @param lora LoRA adapters in GGUF files, whose changes are added to the model's in this order. By default none.
 * @param chat Default options of chat requests.
 * @param embedding How texts become vectors.
 * @param loadInBackground Whether models are loaded while the rest of the application starts. The application is ready for
 *     traffic when they are there, and shows the progress until then.
 * @param warmUp Whether each model answers a few prompts of its own when it has been loaded, so that the first request is fast.
 * @param warmUpLimit When that ends at the latest. It ends earlier when answers no longer become faster.
 * @param models More models, each by a name, with the properties that stand here for a single one.
 * @param primary Name of the model in 'models' whose beans are injected where none is named. Not needed where 'model' is set,
 *     whose beans then are, or where only one model serves chats.
 * @param fallback Another chat model that answers when this one cannot.
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
        @DefaultValue Cuda cuda,
        @Nullable Integer maxConcurrency,
        @Nullable KvCacheType kvCacheType,
        @Nullable Integer ubatch,
        @Nullable Integer ubatchBesideDecode,
        @Nullable Integer queueLimit,
        @Nullable String promptCache,
        @Nullable Path promptCacheFile,
        @Nullable Speculation speculation,
        @Nullable Integer traceSweeps,
        @DefaultValue List<Lora> lora,
        @DefaultValue Chat chat,
        @DefaultValue Embedding embedding,
        @DefaultValue("true") boolean loadInBackground,
        @DefaultValue("true") boolean warmUp,
        @DefaultValue("10s") Duration warmUpLimit,
        @DefaultValue Map<String, Model> models,
        @Nullable String primary,
        @DefaultValue Fallback fallback) {

    /** Where all properties of the starter are. */
    public static final String PREFIX = "spring.ai.prefetch";

    /** The model whose properties stand directly under the prefix. */
    Model rootModel() {
        return new Model(
                model,
                contextLength,
                threads,
                backend,
                lookAhead,
                bufferSize,
                memory,
                cuda,
                maxConcurrency,
                kvCacheType,
                ubatch,
                ubatchBesideDecode,
                queueLimit,
                promptCache,
                promptCacheFile,
                speculation,
                traceSweeps,
                lora,
                chat,
                embedding,
                Set.of(Use.CHAT, Use.EMBEDDING));
    }

    /**
     * One of several models. Its properties mean what those of the same name mean for a single one.
     *
     * @param model GGUF file of the model: a path, a 'file:' or 'classpath:' location, or a published name.
     * @param contextLength Most tokens of prompt and answer together.
     * @param threads Compute threads.
     * @param backend What computes.
     * @param lookAhead Weight blocks to fetch ahead of compute: 'auto' or a number.
     * @param bufferSize Memory for weight blocks on their way: 'auto' or a size.
     * @param memory How much memory the engine may use.
     * @param cuda How a CUDA device is used.
     * @param maxConcurrency Most generations that run at the same time.
     * @param kvCacheType What the KV cache keeps keys and values as: 'f32', 'f16' or 'q8_0'.
     * @param ubatch Most tokens the engine computes in one pass over the weights.
     * @param ubatchBesideDecode Most prompt tokens of a pass that also generates for others.
     * @param queueLimit Most generations that wait because as many run as may.
     * @param promptCache Most of the KV cache that earlier prompts may keep for later ones.
     * @param promptCacheFile File that keeps them when the application ends, for its next start.
     * @param speculation Whether tokens are guessed from the prompt and verified together.
     * @param traceSweeps How many of the last passes over the weights the trace shows.
     * @param lora LoRA adapters in GGUF files, whose changes are added to the model's in this order.
     * @param chat Default options of chat requests.
     * @param embedding How texts become vectors.
     * @param serves What the model is used for: 'chat', 'embedding' or both. By default 'chat'.
     */
    public record Model(
            @Nullable String model,
            @Nullable Integer contextLength,
            @Nullable Integer threads,
            @Nullable String backend,
            @Nullable String lookAhead,
            @Nullable String bufferSize,
            @DefaultValue Memory memory,
            @DefaultValue Cuda cuda,
            @Nullable Integer maxConcurrency,
            @Nullable KvCacheType kvCacheType,
            @Nullable Integer ubatch,
            @Nullable Integer ubatchBesideDecode,
            @Nullable Integer queueLimit,
            @Nullable String promptCache,
            @Nullable Path promptCacheFile,
            @Nullable Speculation speculation,
            @Nullable Integer traceSweeps,
            @DefaultValue List<Lora> lora,
            @DefaultValue Chat chat,
            @DefaultValue Embedding embedding,
            @DefaultValue("chat") Set<Use> serves) {}

    /** What a model is used for. */
    public enum Use {
        /** It answers, as a chat model. */
        CHAT,
        /** It turns texts into vectors, as an embedding model. */
        EMBEDDING
    }

    /**
     * Another chat model that answers when this one cannot.
     *
     * @param chatModel Name of the bean that is asked instead. By default there is none.
     * @param on When it is asked: 'saturated' when too many requests run and wait, 'down' when the engine is being loaded or
     *     has failed. By default both.
     */
    public record Fallback(
            @Nullable String chatModel,
            @DefaultValue({"saturated", "down"}) Set<ChatFallback.Reason> on) {}

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
     * How a CUDA device is used. Nothing of it matters to the CPU backend.
     *
     * @param device Which of several devices, counted from 0.
     * @param vram Most of the device's memory for weights, slots, KV cache and activations: a size such as '6GiB', or a
     *     share of what is free such as '80%'. By default what is free, less a reserve.
     * @param decodeOnHost Whether the host may compute feed-forward networks that are not in the device's memory while
     *     decoding, where that is faster than moving them.
     * @param pageLock Whether to try to page-lock the mapped model file in place, so that the device copies from it.
     * @param retryAfter How long after a failure the device is tried again; doubles with each further failure.
     */
    public record Cuda(
            @DefaultValue("0") int device,
            @Nullable String vram,
            @DefaultValue("true") boolean decodeOnHost,
            @DefaultValue("true") boolean pageLock,
            @DefaultValue("30s") Duration retryAfter) {}

    /**
     * How texts become vectors.
     *
     * @param pooling How the hidden states of a text become one vector: 'mean', 'last' or 'cls'. By default what the model's
     *     file says, and 'mean' where it says nothing.
     * @param normalize Whether vectors get the length 1. By default they do.
     * @param metadataMode Which metadata of a document becomes part of its text: 'none', 'embed', 'inference' or 'all'.
     * @param timeout How long the texts of a request together may take, waiting included; afterwards it fails. By default as
     *     long as it takes.
     */
    public record Embedding(
            @Nullable Pooling pooling,
            @Nullable Boolean normalize,
            @DefaultValue("embed") MetadataMode metadataMode,
            @Nullable Duration timeout) {

        /**
         * The time limit.
         *
         * @throws org.springframework.boot.diagnostics.FailureAnalyzedException for a value out of its range
         */
        @Nullable
        Duration requireTimeout(EngineDefinition definition) {
            if (timeout != null && !timeout.isPositive()) {
                throw definition.invalid("embedding.timeout", timeout, "above 0");
            }
            return timeout;
        }
    }

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
     * @param timeout How long a request may take, waiting included; afterwards it fails. By default as long as it takes.
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
            @Nullable Duration timeout,
            @Nullable Map<String, Object> templateVariables) {

        /**
         * These properties as chat options.
         *
         * @throws org.springframework.boot.diagnostics.FailureAnalyzedException for a value out of its range
         */
        PrefetchChatOptions toOptions(EngineDefinition definition) {
            Checks checks = new Checks(definition);
            checks.check("temperature", temperature, temperature == null || temperature >= 0, "at least 0");
            checks.check("top-p", topP, topP == null || topP > 0 && topP <= 1, "above 0 and at most 1");
            checks.check("top-k", topK, topK == null || topK >= 0, "at least 0");
            checks.check("min-p", minP, minP == null || minP >= 0 && minP <= 1, "in 0 to 1");
            checks.check("max-tokens", maxTokens, maxTokens == null || maxTokens >= 1, "at least 1");
            checks.check(
                    "repetition-penalty",
                    repetitionPenalty,
                    repetitionPenalty == null || repetitionPenalty > 0,
                    "above 0");
            checks.check("presence-penalty", presencePenalty, isFinite(presencePenalty), "a number");
            checks.check("frequency-penalty", frequencyPenalty, isFinite(frequencyPenalty), "a number");
            checks.check(
                    "stop-sequences",
                    stopSequences,
                    stopSequences == null || stopSequences.stream().noneMatch(String::isEmpty),
                    "texts that are not empty");
            checks.check("timeout", timeout, timeout == null || timeout.isPositive(), "above 0");
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
                    .timeout(timeout)
                    .templateVariables(typed(templateVariables))
                    .build();
        }

        private static boolean isFinite(@Nullable Double value) {
            return value == null || Double.isFinite(value);
        }

        private record Checks(EngineDefinition definition) {

            void check(String name, @Nullable Object value, boolean valid, String range) {
                if (!valid) {
                    throw definition.invalid("chat." + name, value, range);
                }
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
