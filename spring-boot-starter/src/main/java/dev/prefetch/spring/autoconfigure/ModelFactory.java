package dev.prefetch.spring.autoconfigure;

import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.spring.ChatFallback;
import dev.prefetch.spring.GenerationGuard;
import dev.prefetch.spring.GenerationLimits;
import dev.prefetch.spring.GenerationRecorder;
import dev.prefetch.spring.PrefetchChatModel;
import dev.prefetch.spring.PrefetchEmbeddingModel;
import dev.prefetch.spring.PrefetchEmbeddingOptions;
import io.micrometer.observation.ObservationRegistry;
import org.jspecify.annotations.Nullable;
import org.springframework.ai.chat.model.ChatModel;
import org.springframework.ai.chat.observation.ChatModelObservationConvention;
import org.springframework.ai.embedding.observation.EmbeddingModelObservationConvention;
import org.springframework.beans.BeansException;
import org.springframework.beans.factory.BeanFactory;
import org.springframework.beans.factory.ObjectProvider;

/** Makes Spring AI's models on engines, all with the application's observations, recorder, guard and limits. */
final class ModelFactory {

    private static final String FALLBACK = PrefetchProperties.PREFIX + ".fallback.chat-model";

    private final PrefetchProperties properties;
    private final BeanFactory beans;

    ModelFactory(PrefetchProperties properties, BeanFactory beans) {
        this.properties = properties;
        this.beans = beans;
    }

    /** The chat model of an engine. */
    PrefetchChatModel chatModel(PrefetchEngine engine, EngineDefinition definition) {
        return PrefetchChatModel.builder(engine)
                .options(definition.properties().chat().toOptions(definition))
                .observationRegistry(provider(ObservationRegistry.class).getIfUnique(() -> ObservationRegistry.NOOP))
                .observationConvention(
                        provider(ChatModelObservationConvention.class).getIfUnique())
                .recorder(provider(GenerationRecorder.class)
                        .getIfUnique(() -> GenerationRecorder.NONE)
                        .forEngine(definition.name()))
                .guard(guard(definition))
                .limits(limits(definition))
                .fallback(fallback(definition))
                .build();
    }

    /** The embedding model of an engine. */
    PrefetchEmbeddingModel embeddingModel(PrefetchEngine engine, EngineDefinition definition) {
        PrefetchProperties.Embedding embedding = definition.properties().embedding();
        return PrefetchEmbeddingModel.builder(engine)
                .options(PrefetchEmbeddingOptions.builder()
                        .pooling(embedding.pooling())
                        .normalize(embedding.normalize())
                        .timeout(embedding.requireTimeout(definition))
                        .build())
                .metadataMode(embedding.metadataMode())
                .observationRegistry(provider(ObservationRegistry.class).getIfUnique(() -> ObservationRegistry.NOOP))
                .observationConvention(
                        provider(EmbeddingModelObservationConvention.class).getIfUnique())
                .guard(guard(definition))
                .limits(limits(definition))
                .build();
    }

    private GenerationGuard guard(EngineDefinition definition) {
        return provider(GenerationGuard.class)
                .getIfUnique(() -> GenerationGuard.NONE)
                .forEngine(definition.name());
    }

    private GenerationLimits limits(EngineDefinition definition) {
        return provider(GenerationLimits.class)
                .getIfUnique(() -> GenerationLimits.NONE)
                .forEngine(definition.name());
    }

    private <T> ObjectProvider<T> provider(Class<T> type) {
        return beans.getBeanProvider(type);
    }

    /** Looked up when it is needed: it may itself need beans that are not there yet. */
    private @Nullable ChatFallback fallback(EngineDefinition definition) {
        String name = properties.fallback().chatModel();
        if (name == null || name.isBlank()) {
            return null;
        }
        if (!beans.containsBean(name) || !beans.isTypeMatch(name, ChatModel.class)) {
            throw StartupFailure.of(
                    "The property " + FALLBACK + " is '" + name + "', but there is no ChatModel bean of that name.",
                    "Declare the bean, or correct " + FALLBACK + ".");
        }
        if (name.equals(NamedModels.chatModelBean(definition.name()))) {
            // The model that the others fall back to has nothing behind it.
            return null;
        }
        return new ChatFallback(() -> lookUp(name), properties.fallback().on());
    }

    private ChatModel lookUp(String name) {
        try {
            return beans.getBean(name, ChatModel.class);
        } catch (BeansException e) {
            throw new IllegalStateException(
                    "the fallback chat model '" + name + "' cannot be had: " + e.getMessage(), e);
        }
    }
}
