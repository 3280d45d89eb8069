package dev.prefetch.spring.autoconfigure;

import org.springframework.ai.model.chat.client.autoconfigure.ChatClientAutoConfiguration;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.context.annotation.Conditional;
import org.springframework.context.annotation.Import;

/** Auto-configuration of models by name, {@code spring.ai.prefetch.models}. */
@AutoConfiguration(
        after = {PrefetchEngineAutoConfiguration.class, PrefetchChatAutoConfiguration.class},
        before = ChatClientAutoConfiguration.class)
@Conditional({Selection.AnyWanted.class, Selection.NamedWanted.class})
@Import(NamedModels.class)
public class PrefetchModelsAutoConfiguration {}
