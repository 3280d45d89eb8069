package dev.prefetch.spring.autoconfigure;

import dev.prefetch.api.ModelCaches;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.prefetch.LoadListener;
import dev.prefetch.spring.PrefetchChatModel;
import org.springframework.beans.factory.BeanFactory;
import org.springframework.beans.factory.ObjectProvider;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.context.properties.EnableConfigurationProperties;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Conditional;
import org.springframework.core.io.ResourceLoader;

/**
 * Auto-configuration of the engine. The model is loaded while the application starts, by default in the background, so
 * that the web server can show the progress; the application is ready for traffic when it is there. When the context
 * closes, running generations may end within the phase's timeout; then the engine is closed.
 */
@AutoConfiguration
@Conditional(Selection.AnyWanted.class)
@EnableConfigurationProperties(PrefetchProperties.class)
public class PrefetchEngineAutoConfiguration {

    @Bean
    EngineFactory prefetchEngineFactory(
            PrefetchProperties properties,
            ResourceLoader resources,
            ObjectProvider<EngineOpener> opener,
            ObjectProvider<LoadListener> listener) {
        ModelLocator locator =
                new ModelLocator(resources, ModelCache.at(properties.cacheDirectory()), ModelCaches.ofSystem());
        return new EngineFactory(
                properties,
                opener.getIfAvailable(() -> PrefetchEngine::open),
                locator,
                listener.getIfUnique(LoadListener::logging));
    }

    @Bean
    ModelFactory prefetchModelFactory(PrefetchProperties properties, BeanFactory beans) {
        return new ModelFactory(properties, beans);
    }

    @Bean(destroyMethod = "close")
    @Conditional(Selection.RootWanted.class)
    @ConditionalOnMissingBean({PrefetchEngine.class, PrefetchChatModel.class})
    PrefetchEngine prefetchEngine(EngineFactory engines, PrefetchProperties properties) {
        return engines.open(EngineDefinition.root(properties));
    }
}
