package dev.prefetch.spring.autoconfigure;

import dev.prefetch.api.ModelCaches;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.prefetch.LoadListener;
import dev.prefetch.spring.PrefetchChatModel;
import org.springframework.ai.model.SpringAIModelProperties;
import org.springframework.beans.factory.ObjectProvider;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.boot.autoconfigure.condition.ConditionalOnSingleCandidate;
import org.springframework.boot.context.properties.EnableConfigurationProperties;
import org.springframework.context.annotation.Bean;
import org.springframework.core.io.ResourceLoader;

/**
 * Auto-configuration of the engine. The model is loaded while the context starts, so a server that accepts requests has
 * it. When the context closes, running generations may end within the phase's timeout; then the engine is closed.
 */
@AutoConfiguration
@ConditionalOnProperty(
        name = SpringAIModelProperties.CHAT_MODEL,
        havingValue = PrefetchChatAutoConfiguration.NAME,
        matchIfMissing = true)
@EnableConfigurationProperties(PrefetchProperties.class)
public class PrefetchEngineAutoConfiguration {

    @Bean(destroyMethod = "close")
    @ConditionalOnMissingBean({PrefetchEngine.class, PrefetchChatModel.class})
    PrefetchEngine prefetchEngine(
            PrefetchProperties properties,
            ResourceLoader resources,
            ObjectProvider<EngineOpener> opener,
            ObjectProvider<LoadListener> listener) {
        ModelLocator locator =
                new ModelLocator(resources, ModelCache.at(properties.cacheDirectory()), ModelCaches.ofSystem());
        LoadListener progress = listener.getIfUnique(LoadListener::logging);
        EngineOpener open = opener.getIfAvailable(() -> options -> PrefetchEngine.open(options, progress));
        return new EngineLoader(open, locator).load(properties);
    }

    @Bean
    @ConditionalOnSingleCandidate(PrefetchEngine.class)
    EngineDrain prefetchEngineDrain(PrefetchEngine engine) {
        return new EngineDrain(engine);
    }
}
