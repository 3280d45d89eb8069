package dev.prefetch.spring.autoconfigure;

import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.spring.PrefetchEngines;
import java.util.LinkedHashMap;
import java.util.Map;
import org.springframework.beans.factory.ListableBeanFactory;
import org.springframework.beans.factory.ObjectProvider;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.context.properties.EnableConfigurationProperties;
import org.springframework.context.annotation.Bean;

/** Auto-configuration of what concerns all engines of an application together, wherever they come from. */
@AutoConfiguration(after = PrefetchModelsAutoConfiguration.class)
@ConditionalOnBean(PrefetchEngine.class)
@EnableConfigurationProperties(PrefetchProperties.class)
public class PrefetchEnginesAutoConfiguration {

    private static final String SUFFIX = "Engine";

    @Bean
    @ConditionalOnMissingBean
    PrefetchEngines prefetchEngines(
            ListableBeanFactory beans, PrefetchProperties properties, ObjectProvider<PrefetchEngine> primary) {
        Map<String, String> names = new LinkedHashMap<>();
        properties.models().keySet().forEach(name -> names.put(NamedModels.engineBean(name), name));
        Map<String, PrefetchEngine> byName = new LinkedHashMap<>();
        beans.getBeansOfType(PrefetchEngine.class)
                .forEach((bean, engine) -> byName.put(names.getOrDefault(bean, nameOf(bean)), engine));
        PrefetchEngine meant =
                primary.getIfUnique(() -> byName.values().iterator().next());
        String name = byName.entrySet().stream()
                .filter(entry -> entry.getValue() == meant)
                .map(Map.Entry::getKey)
                .findFirst()
                .orElseThrow();
        return new PrefetchEngines(byName, name);
    }

    private static String nameOf(String bean) {
        return bean.endsWith(SUFFIX) && bean.length() > SUFFIX.length()
                ? bean.substring(0, bean.length() - SUFFIX.length())
                : bean;
    }

    @Bean
    @ConditionalOnMissingBean
    EngineDrain prefetchEngineDrain(PrefetchEngines engines) {
        return new EngineDrain(engines.byName().values());
    }
}
