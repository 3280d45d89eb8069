package dev.prefetch.spring.autoconfigure;

import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.spring.GenerationGuard;
import dev.prefetch.spring.GenerationRecorder;
import dev.prefetch.spring.PrefetchChatModel;
import io.micrometer.observation.ObservationRegistry;
import org.springframework.ai.chat.model.ChatModel;
import org.springframework.ai.chat.observation.ChatModelObservationConvention;
import org.springframework.ai.model.SpringAIModelProperties;
import org.springframework.ai.model.chat.client.autoconfigure.ChatClientAutoConfiguration;
import org.springframework.beans.factory.ObjectProvider;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnClass;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.boot.context.properties.EnableConfigurationProperties;
import org.springframework.context.annotation.Bean;

/**
 * Auto-configuration of the {@link PrefetchChatModel}. With {@code spring.ai.model.chat=prefetch}, or with that property
 * unset, it is the application's chat model.
 */
@AutoConfiguration(after = PrefetchEngineAutoConfiguration.class, before = ChatClientAutoConfiguration.class)
@ConditionalOnClass(ChatModel.class)
@ConditionalOnProperty(
        name = SpringAIModelProperties.CHAT_MODEL,
        havingValue = PrefetchChatAutoConfiguration.NAME,
        matchIfMissing = true)
@EnableConfigurationProperties(PrefetchProperties.class)
public class PrefetchChatAutoConfiguration {

    /** Value of {@code spring.ai.model.chat} that means this provider. */
    static final String NAME = "prefetch";

    @Bean
    @ConditionalOnMissingBean
    PrefetchChatModel prefetchChatModel(
            PrefetchEngine engine,
            PrefetchProperties properties,
            ObjectProvider<ObservationRegistry> observationRegistry,
            ObjectProvider<ChatModelObservationConvention> observationConvention,
            ObjectProvider<GenerationRecorder> recorder,
            ObjectProvider<GenerationGuard> guard) {
        return PrefetchChatModel.builder(engine)
                .options(properties.chat().toOptions())
                .observationRegistry(observationRegistry.getIfUnique(() -> ObservationRegistry.NOOP))
                .observationConvention(observationConvention.getIfUnique())
                .recorder(recorder.getIfUnique(() -> GenerationRecorder.NONE))
                .guard(guard.getIfUnique(() -> GenerationGuard.NONE))
                .build();
    }
}
