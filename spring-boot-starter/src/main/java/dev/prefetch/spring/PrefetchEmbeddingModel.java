package dev.prefetch.spring;

import dev.prefetch.api.EmbeddingOptions;
import dev.prefetch.api.EmbeddingResult;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.inference.DeadlineExceededException;
import io.micrometer.observation.ObservationRegistry;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import org.springframework.ai.chat.metadata.DefaultUsage;
import org.springframework.ai.document.Document;
import org.springframework.ai.document.MetadataMode;
import org.springframework.ai.embedding.Embedding;
import org.springframework.ai.embedding.EmbeddingModel;
import org.springframework.ai.embedding.EmbeddingRequest;
import org.springframework.ai.embedding.EmbeddingResponse;
import org.springframework.ai.embedding.EmbeddingResponseMetadata;
import org.springframework.ai.embedding.observation.DefaultEmbeddingModelObservationConvention;
import org.springframework.ai.embedding.observation.EmbeddingModelObservationContext;
import org.springframework.ai.embedding.observation.EmbeddingModelObservationConvention;
import org.springframework.ai.embedding.observation.EmbeddingModelObservationDocumentation;

/**
 * An embedding model that runs inside this process, on a {@link PrefetchEngine}: the same one that answers chats, whose
 * weights are there once. Texts share the passes over the weights with each other and with what is generated. Works with every
 * model; one that was trained for embeddings gives vectors that mean more. Thread-safe; it does not own the engine.
 */
public final class PrefetchEmbeddingModel implements EmbeddingModel {

    private static final EmbeddingModelObservationConvention DEFAULT_CONVENTION =
            new DefaultEmbeddingModelObservationConvention();

    private final PrefetchEngine engine;
    private final PrefetchEmbeddingOptions options;
    private final MetadataMode metadataMode;
    private final ObservationRegistry observationRegistry;
    private final @Nullable EmbeddingModelObservationConvention observationConvention;
    private final GenerationGuard guard;
    private final GenerationLimits limits;

    private PrefetchEmbeddingModel(Builder builder) {
        this.engine = builder.engine;
        this.options = builder.options;
        this.metadataMode = builder.metadataMode;
        this.observationRegistry = builder.observationRegistry;
        this.observationConvention = builder.observationConvention;
        this.guard = builder.guard;
        this.limits = builder.limits;
    }

    /** A builder for a model on an engine, which the caller closes. */
    public static Builder builder(PrefetchEngine engine) {
        return new Builder(engine);
    }

    /** Options of requests that set none themselves. */
    public PrefetchEmbeddingOptions getOptions() {
        return options;
    }

    /**
     * Makes a vector of every text. Waits while the engine is being loaded.
     *
     * @throws IllegalArgumentException for an empty text, or a model or a number of dimensions that is not the loaded one's
     * @throws dev.prefetch.api.ContextLengthExceededException when a text does not fit the context
     * @throws dev.prefetch.inference.QueueFullException when as many requests are computed and wait as may
     * @throws DeadlineExceededException when the time that the options give is up
     * @throws GenerationTimeoutException when the limits' deadline is over
     * @throws IllegalStateException when the engine is closed, the model gives no vectors, or the waiting thread is
     *     interrupted
     */
    @Override
    public EmbeddingResponse call(EmbeddingRequest request) {
        org.springframework.ai.embedding.EmbeddingOptions given = request.getOptions();
        PrefetchEmbeddingOptions complete =
                given == null ? options : PrefetchEmbeddingOptions.from(given).withDefaults(options);
        String model = engine.info().modelName();
        requireLoadedModel(complete, model);
        EmbeddingModelObservationContext context = EmbeddingModelObservationContext.builder()
                .embeddingRequest(new EmbeddingRequest(
                        request.getInstructions(),
                        complete.mutate().model(model).build()))
                .provider(PrefetchChatModel.PROVIDER)
                .build();
        EmbeddingResponse response = EmbeddingModelObservationDocumentation.EMBEDDING_MODEL_OPERATION
                .observation(observationConvention, DEFAULT_CONVENTION, () -> context, observationRegistry)
                .observe(() -> {
                    EmbeddingResponse answer = embed(request.getInstructions(), complete, model);
                    context.setResponse(answer);
                    return answer;
                });
        return Objects.requireNonNull(response, "response");
    }

    private EmbeddingResponse embed(List<String> texts, PrefetchEmbeddingOptions complete, String model) {
        EmbeddingResult result = guard.call(() -> compute(texts, complete));
        List<Embedding> embeddings = new ArrayList<>();
        for (float[] vector : result.vectors()) {
            embeddings.add(new Embedding(vector, embeddings.size()));
        }
        return new EmbeddingResponse(
                embeddings, new EmbeddingResponseMetadata(model, new DefaultUsage(result.totalTokens(), 0)));
    }

    private EmbeddingResult compute(List<String> texts, PrefetchEmbeddingOptions complete) {
        Duration timeout = complete.getTimeout();
        Duration deadline = limits.deadline();
        boolean limited = deadline != null && (timeout == null || deadline.compareTo(timeout) < 0);
        try {
            EmbeddingResult result = engine.embed(
                    texts,
                    new EmbeddingOptions(
                            complete.getPooling(),
                            !Boolean.FALSE.equals(complete.getNormalize()),
                            limited ? deadline : timeout));
            limits.kept();
            return result;
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while waiting for the vectors", e);
        } catch (DeadlineExceededException e) {
            if (!limited) {
                throw e;
            }
            GenerationTimeoutException failure = GenerationTimeoutException.vectors(deadline, limits.remedy(), e);
            limits.exceeded(failure);
            throw failure;
        }
    }

    private void requireLoadedModel(PrefetchEmbeddingOptions complete, String loaded) {
        String model = complete.getModel();
        if (model != null
                && !model.equals(loaded)
                && !model.equals(String.valueOf(engine.info().modelFile().getFileName()))) {
            throw new IllegalArgumentException("the option model asks for '" + model + "', but the loaded model is '"
                    + loaded + "': leave the option out, or load the other model in a second engine");
        }
        Integer dimensions = complete.getDimensions();
        if (dimensions != null && dimensions != dimensions()) {
            throw new IllegalArgumentException("the option dimensions asks for " + dimensions + ", but vectors of '"
                    + loaded + "' have " + dimensions() + ": leave the option out");
        }
    }

    @Override
    public float[] embed(Document document) {
        return embed(getEmbeddingContent(document));
    }

    @Override
    public String getEmbeddingContent(Document document) {
        // Without metadata the template leaves blank lines in front, which would move the vector.
        return document.getFormattedContent(metadataMode).strip();
    }

    /** Elements of a vector, as the file says; nothing is computed. */
    @Override
    public int dimensions() {
        return engine.info().embeddingDimensions();
    }

    /** Builds a {@link PrefetchEmbeddingModel}. Not thread-safe. */
    public static final class Builder extends ModelBuilder<Builder> {

        private PrefetchEmbeddingOptions options =
                PrefetchEmbeddingOptions.builder().build();
        private MetadataMode metadataMode = MetadataMode.EMBED;
        private @Nullable EmbeddingModelObservationConvention observationConvention;

        private Builder(PrefetchEngine engine) {
            super(engine);
        }

        @Override
        Builder self() {
            return this;
        }

        /** Options of requests that set none themselves. */
        public Builder options(PrefetchEmbeddingOptions value) {
            this.options = Objects.requireNonNull(value, "options");
            return this;
        }

        /** Which metadata of a document becomes part of its text; without it what documents mean for embeddings. */
        public Builder metadataMode(MetadataMode value) {
            this.metadataMode = Objects.requireNonNull(value, "metadataMode");
            return this;
        }

        /** How observations are named and tagged, instead of Spring AI's default. */
        public Builder observationConvention(@Nullable EmbeddingModelObservationConvention value) {
            this.observationConvention = value;
            return this;
        }

        public PrefetchEmbeddingModel build() {
            return new PrefetchEmbeddingModel(this);
        }
    }
}
