package dev.prefetch.spring.autoconfigure;

import dev.prefetch.spring.PrefetchEngines;
import dev.prefetch.spring.actuate.PrefetchEndpoint;
import dev.prefetch.spring.actuate.PrefetchHealthIndicator;
import dev.prefetch.spring.actuate.PrefetchInfoContributor;
import dev.prefetch.spring.actuate.PrefetchMetrics;
import io.micrometer.core.instrument.MeterRegistry;
import java.util.LinkedHashMap;
import java.util.Map;
import org.springframework.boot.actuate.autoconfigure.endpoint.condition.ConditionalOnAvailableEndpoint;
import org.springframework.boot.actuate.autoconfigure.info.ConditionalOnEnabledInfoContributor;
import org.springframework.boot.actuate.endpoint.annotation.Endpoint;
import org.springframework.boot.actuate.info.InfoContributor;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnClass;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.health.autoconfigure.contributor.ConditionalOnEnabledHealthIndicator;
import org.springframework.boot.health.contributor.CompositeHealthContributor;
import org.springframework.boot.health.contributor.HealthContributor;
import org.springframework.boot.health.contributor.HealthIndicator;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;

/**
 * Auto-configuration of what operators see of the engine: health, information, the {@code prefetch} endpoint and meters,
 * each only where what it needs is on the class path. The conditions of Actuator stand on the bean methods, because those
 * of a class are loaded together and would be missing without Actuator.
 */
@AutoConfiguration(
        after = PrefetchEnginesAutoConfiguration.class,
        afterName = "org.springframework.boot.micrometer.metrics.autoconfigure.CompositeMeterRegistryAutoConfiguration")
@ConditionalOnBean(PrefetchEngines.class)
public class PrefetchActuatorAutoConfiguration {

    @Configuration(proxyBeanMethods = false)
    @ConditionalOnClass({HealthIndicator.class, ConditionalOnEnabledHealthIndicator.class})
    static class HealthConfiguration {

        @Bean
        @ConditionalOnEnabledHealthIndicator("prefetch")
        @ConditionalOnMissingBean(name = {"prefetchHealthIndicator", "prefetchHealthContributor"})
        HealthContributor prefetchHealthContributor(PrefetchEngines engines) {
            if (engines.byName().size() == 1) {
                return new PrefetchHealthIndicator(engines.engine());
            }
            Map<String, HealthContributor> indicators = new LinkedHashMap<>();
            engines.byName().forEach((name, engine) -> indicators.put(name, new PrefetchHealthIndicator(engine)));
            return CompositeHealthContributor.fromMap(indicators);
        }
    }

    @Configuration(proxyBeanMethods = false)
    @ConditionalOnClass({InfoContributor.class, ConditionalOnEnabledInfoContributor.class})
    static class InfoConfiguration {

        @Bean
        @ConditionalOnEnabledInfoContributor("prefetch")
        @ConditionalOnMissingBean
        PrefetchInfoContributor prefetchInfoContributor(PrefetchEngines engines) {
            return new PrefetchInfoContributor(engines);
        }
    }

    @Configuration(proxyBeanMethods = false)
    @ConditionalOnClass({Endpoint.class, ConditionalOnAvailableEndpoint.class})
    static class EndpointConfiguration {

        @Bean
        @ConditionalOnAvailableEndpoint
        @ConditionalOnMissingBean
        PrefetchEndpoint prefetchEndpoint(PrefetchEngines engines) {
            return new PrefetchEndpoint(engines);
        }
    }

    @Configuration(proxyBeanMethods = false)
    @ConditionalOnClass(MeterRegistry.class)
    @ConditionalOnBean(MeterRegistry.class)
    static class MetricsConfiguration {

        @Bean
        @ConditionalOnMissingBean
        PrefetchMetrics prefetchMetrics(PrefetchEngines engines) {
            return new PrefetchMetrics(engines);
        }
    }
}
