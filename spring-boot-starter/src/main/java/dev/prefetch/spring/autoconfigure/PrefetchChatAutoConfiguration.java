package dev.prefetch.spring.autoconfigure;

import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.spring.PrefetchChatModel;
import org.springframework.ai.chat.model.ChatModel;
import org.springframework.ai.model.chat.client.autoconfigure.ChatClientAutoConfiguration;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnClass;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.context.properties.EnableConfigurationProperties;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Conditional;

/**
 * Auto-configuration of the {@link PrefetchChatModel}. With {@code spring.ai.model.chat=prefetch}, or with that property
 * unset, it is the application's chat model.
 */
@AutoConfiguration(after = PrefetchEngineAutoConfiguration.class, before = ChatClientAutoConfiguration.class)
@ConditionalOnClass(ChatModel.class)
@Conditional(Selection.RootChatWanted.class)
@EnableConfigurationProperties(PrefetchProperties.class)
public class PrefetchChatAutoConfiguration {

    @Bean
    @ConditionalOnMissingBean
    PrefetchChatModel prefetchChatModel(PrefetchEngine engine, ModelFactory models, PrefetchProperties properties) {
        return models.chatModel(engine, EngineDefinition.root(properties));
    }
}
