package dev.prefetch.spring;

import dev.prefetch.inference.Pooling;
import java.time.Duration;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import org.springframework.ai.embedding.EmbeddingOptions;

/**
 * Options of {@link PrefetchEmbeddingModel}. Immutable; {@code null} means unset, and an unset option takes the model's
 * default ({@link PrefetchEmbeddingModel#getOptions()}).
 */
public final class PrefetchEmbeddingOptions implements EmbeddingOptions {

    private final @Nullable String model;
    private final @Nullable Integer dimensions;
    private final @Nullable Pooling pooling;
    private final @Nullable Boolean normalize;
    private final @Nullable Duration timeout;

    private PrefetchEmbeddingOptions(Builder builder) {
        this.model = builder.model;
        this.dimensions = builder.dimensions;
        this.pooling = builder.pooling;
        this.normalize = builder.normalize;
        this.timeout = builder.timeout;
    }

    /** A builder with nothing set. */
    public static Builder builder() {
        return new Builder();
    }

    /** Options of any kind as options of this class. */
    public static PrefetchEmbeddingOptions from(EmbeddingOptions options) {
        return options instanceof PrefetchEmbeddingOptions same
                ? same
                : builder()
                        .model(options.getModel())
                        .dimensions(options.getDimensions())
                        .build();
    }

    /** Name of the model; an engine has one, so any other is refused. */
    @Override
    public @Nullable String getModel() {
        return model;
    }

    /** Elements of a vector; a model has one number of them, so any other is refused. */
    @Override
    public @Nullable Integer getDimensions() {
        return dimensions;
    }

    /** How the hidden states of a text become one vector; unset for what the model's file says. */
    public @Nullable Pooling getPooling() {
        return pooling;
    }

    /** Whether vectors get the length 1, so that their dot product is their cosine; unset for yes. */
    public @Nullable Boolean getNormalize() {
        return normalize;
    }

    /**
     * How long all texts of a request together may take, waiting included, before it fails with
     * {@link dev.prefetch.inference.DeadlineExceededException}; unset for as long as it takes.
     */
    public @Nullable Duration getTimeout() {
        return timeout;
    }

    /** These options with what is unset taken from others. */
    PrefetchEmbeddingOptions withDefaults(PrefetchEmbeddingOptions defaults) {
        return builder()
                .model(model != null ? model : defaults.model)
                .dimensions(dimensions != null ? dimensions : defaults.dimensions)
                .pooling(pooling != null ? pooling : defaults.pooling)
                .normalize(normalize != null ? normalize : defaults.normalize)
                .timeout(timeout != null ? timeout : defaults.timeout)
                .build();
    }

    /** A builder with these options. */
    public Builder mutate() {
        return builder()
                .model(model)
                .dimensions(dimensions)
                .pooling(pooling)
                .normalize(normalize)
                .timeout(timeout);
    }

    @Override
    public boolean equals(@Nullable Object other) {
        return other instanceof PrefetchEmbeddingOptions that
                && Objects.equals(model, that.model)
                && Objects.equals(dimensions, that.dimensions)
                && pooling == that.pooling
                && Objects.equals(normalize, that.normalize)
                && Objects.equals(timeout, that.timeout);
    }

    @Override
    public int hashCode() {
        return Objects.hash(model, dimensions, pooling, normalize, timeout);
    }

    @Override
    public String toString() {
        return "PrefetchEmbeddingOptions[model=" + model + ", dimensions=" + dimensions + ", pooling=" + pooling
                + ", normalize=" + normalize + ", timeout=" + timeout + "]";
    }

    /** Builds {@link PrefetchEmbeddingOptions}. Not thread-safe. */
    public static final class Builder implements EmbeddingOptions.Builder {

        private @Nullable String model;
        private @Nullable Integer dimensions;
        private @Nullable Pooling pooling;
        private @Nullable Boolean normalize;
        private @Nullable Duration timeout;

        private Builder() {}

        /** See {@link PrefetchEmbeddingOptions#getModel()}. */
        @Override
        public Builder model(@Nullable String value) {
            this.model = value;
            return this;
        }

        /** See {@link PrefetchEmbeddingOptions#getDimensions()}. */
        @Override
        public Builder dimensions(@Nullable Integer value) {
            this.dimensions = value;
            return this;
        }

        /** See {@link PrefetchEmbeddingOptions#getPooling()}. */
        public Builder pooling(@Nullable Pooling value) {
            this.pooling = value;
            return this;
        }

        /** See {@link PrefetchEmbeddingOptions#getNormalize()}. */
        public Builder normalize(@Nullable Boolean value) {
            this.normalize = value;
            return this;
        }

        /** See {@link PrefetchEmbeddingOptions#getTimeout()}. */
        public Builder timeout(@Nullable Duration value) {
            this.timeout = value;
            return this;
        }

        @Override
        public PrefetchEmbeddingOptions build() {
            return new PrefetchEmbeddingOptions(this);
        }
    }
}
