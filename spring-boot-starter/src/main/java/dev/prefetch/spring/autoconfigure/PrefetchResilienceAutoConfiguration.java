package dev.prefetch.spring.autoconfigure;

import dev.prefetch.api.EngineOptions;
import dev.prefetch.spring.GenerationGuard;
import dev.prefetch.spring.resilience.BulkheadGuard;
import io.github.resilience4j.bulkhead.Bulkhead;
import io.github.resilience4j.bulkhead.BulkheadConfig;
import io.github.resilience4j.bulkhead.BulkheadRegistry;
import io.github.resilience4j.reactor.bulkhead.operator.BulkheadOperator;
import java.time.Duration;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnClass;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.context.properties.EnableConfigurationProperties;
import org.springframework.context.annotation.Bean;

/**
 * Auto-configuration of admission with Resilience4j, where it is on the class path: the bulkhead {@code prefetch}, as
 * {@code resilience4j.bulkhead.instances.prefetch} says. Without that it has {@value #PLACES_PER_GENERATION} places for each
 * generation that can run at the same time, and refuses more at once.
 */
@AutoConfiguration(
        before = PrefetchChatAutoConfiguration.class,
        afterName = "io.github.resilience4j.springboot.bulkhead.autoconfigure.BulkheadAutoConfiguration")
@ConditionalOnClass({Bulkhead.class, BulkheadOperator.class})
@ConditionalOnBean(BulkheadRegistry.class)
@EnableConfigurationProperties(PrefetchProperties.class)
public class PrefetchResilienceAutoConfiguration {

    /** Name of the bulkhead. */
    static final String NAME = "prefetch";

    static final int PLACES_PER_GENERATION = 4;

    @Bean
    @ConditionalOnMissingBean(GenerationGuard.class)
    BulkheadGuard prefetchBulkheadGuard(BulkheadRegistry registry, PrefetchProperties properties) {
        Integer running = properties.maxConcurrency();
        int places = (running == null ? EngineOptions.DEFAULT_MAX_CONCURRENCY : running) * PLACES_PER_GENERATION;
        BulkheadConfig ours = BulkheadConfig.custom()
                .maxConcurrentCalls(places)
                .maxWaitDuration(Duration.ZERO)
                .build();
        return new BulkheadGuard(registry.find(NAME).orElseGet(() -> registry.bulkhead(NAME, ours)));
    }
}
