package dev.prefetch.spring.autoconfigure;

import dev.prefetch.spring.GenerationGuard;
import dev.prefetch.spring.GenerationLimits;
import dev.prefetch.spring.resilience.ResilienceGuard;
import dev.prefetch.spring.resilience.TimeLimiterLimits;
import io.github.resilience4j.bulkhead.BulkheadRegistry;
import io.github.resilience4j.circuitbreaker.CircuitBreakerRegistry;
import io.github.resilience4j.common.bulkhead.configuration.BulkheadConfigCustomizer;
import io.github.resilience4j.reactor.bulkhead.operator.BulkheadOperator;
import io.github.resilience4j.timelimiter.TimeLimiterRegistry;
import org.springframework.beans.factory.ObjectProvider;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnClass;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.context.properties.EnableConfigurationProperties;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Conditional;
import org.springframework.context.annotation.Import;

/**
 * Auto-configuration of admission, circuit breaker and limits of time with Resilience4j, where it is on the class path. The
 * instances have the name of {@link dev.prefetch.spring.resilience.ResilienceNames}, and the usual {@code resilience4j} keys
 * configure them; {@link ResilienceDefaults} says what holds without.
 */
@AutoConfiguration(
        afterName = {
            "io.github.resilience4j.springboot.bulkhead.autoconfigure.BulkheadAutoConfiguration",
            "io.github.resilience4j.springboot.circuitbreaker.autoconfigure.CircuitBreakerAutoConfiguration",
            "io.github.resilience4j.springboot.timelimiter.autoconfigure.TimeLimiterAutoConfiguration"
        })
@ConditionalOnClass({
    BulkheadRegistry.class,
    CircuitBreakerRegistry.class,
    TimeLimiterRegistry.class,
    BulkheadOperator.class,
    BulkheadConfigCustomizer.class
})
@Conditional(Selection.AnyWanted.class)
@EnableConfigurationProperties(PrefetchProperties.class)
@Import(ResilienceDefaults.class)
public class PrefetchResilienceAutoConfiguration {

    @Bean
    @ConditionalOnBean(BulkheadRegistry.class)
    @ConditionalOnMissingBean(GenerationGuard.class)
    ResilienceGuard prefetchResilienceGuard(
            BulkheadRegistry bulkheads, ObjectProvider<CircuitBreakerRegistry> breakers) {
        return new ResilienceGuard(bulkheads, breakers.getIfUnique());
    }

    @Bean
    @ConditionalOnBean(TimeLimiterRegistry.class)
    @ConditionalOnMissingBean(GenerationLimits.class)
    TimeLimiterLimits prefetchTimeLimiterLimits(TimeLimiterRegistry limiters) {
        return new TimeLimiterLimits(limiters);
    }
}
