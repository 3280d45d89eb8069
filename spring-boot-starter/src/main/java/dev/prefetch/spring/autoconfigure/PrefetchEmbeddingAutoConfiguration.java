package dev.prefetch.spring.autoconfigure;

import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.spring.PrefetchEmbeddingModel;
import org.springframework.ai.embedding.EmbeddingModel;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.AutoConfigureOrder;
import org.springframework.boot.autoconfigure.condition.ConditionalOnBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnClass;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.context.properties.EnableConfigurationProperties;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Conditional;
import org.springframework.core.Ordered;

/**
 * Auto-configuration of the {@link PrefetchEmbeddingModel} on the engine that answers chats. With
 * {@code spring.ai.model.embedding=prefetch} it is the application's embedding model; with that property unset it is, where
 * chats are answered by this provider and there is no other embedding model.
 */
@AutoConfiguration(after = PrefetchModelsAutoConfiguration.class)
@AutoConfigureOrder(Ordered.LOWEST_PRECEDENCE)
@ConditionalOnClass(EmbeddingModel.class)
@ConditionalOnBean(PrefetchEngine.class)
@Conditional(Selection.RootEmbeddingWanted.class)
@EnableConfigurationProperties(PrefetchProperties.class)
public class PrefetchEmbeddingAutoConfiguration {

    @Bean
    @ConditionalOnMissingBean(value = EmbeddingModel.class, ignored = PrefetchEmbeddingModel.class)
    PrefetchEmbeddingModel prefetchEmbeddingModel(
            PrefetchEngine engine, ModelFactory models, PrefetchProperties properties) {
        return models.embeddingModel(engine, EngineDefinition.root(properties));
    }
}
