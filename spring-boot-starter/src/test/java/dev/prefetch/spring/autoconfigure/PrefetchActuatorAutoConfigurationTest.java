package dev.prefetch.spring.autoconfigure;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.spring.FakeEngine;
import dev.prefetch.spring.PrefetchChatModel;
import dev.prefetch.spring.actuate.PrefetchEndpoint;
import dev.prefetch.spring.actuate.PrefetchHealthIndicator;
import dev.prefetch.spring.actuate.PrefetchInfoContributor;
import dev.prefetch.spring.actuate.PrefetchMetrics;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import org.junit.jupiter.api.Test;
import org.springframework.ai.model.chat.client.autoconfigure.ChatClientAutoConfiguration;
import org.springframework.ai.model.tool.autoconfigure.ToolCallingAutoConfiguration;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.AutoConfigurations;
import org.springframework.boot.context.annotation.ImportCandidates;
import org.springframework.boot.micrometer.metrics.autoconfigure.CompositeMeterRegistryAutoConfiguration;
import org.springframework.boot.micrometer.metrics.autoconfigure.MetricsAutoConfiguration;
import org.springframework.boot.test.context.FilteredClassLoader;
import org.springframework.boot.test.context.runner.ApplicationContextRunner;

class PrefetchActuatorAutoConfigurationTest {

    private final FakeEngine engine = FakeEngine.answering("Hel", "lo");

    private final ApplicationContextRunner runner = new ApplicationContextRunner()
            .withConfiguration(AutoConfigurations.of(
                    PrefetchEngineAutoConfiguration.class,
                    PrefetchChatAutoConfiguration.class,
                    PrefetchModelsAutoConfiguration.class,
                    PrefetchEnginesAutoConfiguration.class,
                    PrefetchActuatorAutoConfiguration.class,
                    ToolCallingAutoConfiguration.class,
                    ChatClientAutoConfiguration.class))
            .withBean(PrefetchEngine.class, () -> engine);

    private final ApplicationContextRunner metered = runner.withConfiguration(AutoConfigurations.of(
                    MetricsAutoConfiguration.class, CompositeMeterRegistryAutoConfiguration.class))
            .withBean(SimpleMeterRegistry.class, SimpleMeterRegistry::new);

    @Test
    void isRegistered() {
        assertThat(ImportCandidates.load(AutoConfiguration.class, getClass().getClassLoader()))
                .contains(PrefetchActuatorAutoConfiguration.class.getName());
    }

    @Test
    void givesHealthInformationEndpointAndMeters() {
        metered.withPropertyValues("management.endpoints.web.exposure.include=prefetch")
                .run(context -> {
                    assertThat(context)
                            .hasSingleBean(PrefetchHealthIndicator.class)
                            .hasSingleBean(PrefetchInfoContributor.class)
                            .hasSingleBean(PrefetchEndpoint.class)
                            .hasSingleBean(PrefetchMetrics.class);
                    context.getBean(PrefetchChatModel.class).call("hi");
                    assertThat(context.getBean(MeterRegistry.class)
                                    .get("prefetch.tokens")
                                    .tag("type", "generated")
                                    .counter()
                                    .count())
                            .isEqualTo(2);
                });
    }

    @Test
    void theEndpointIsNotThereUnlessExposed() {
        runner.run(context -> assertThat(context).hasNotFailed().doesNotHaveBean(PrefetchEndpoint.class));
    }

    @Test
    void theHealthIndicatorCanBeSwitchedOff() {
        runner.withPropertyValues("management.health.prefetch.enabled=false")
                .run(context -> assertThat(context).hasNotFailed().doesNotHaveBean(PrefetchHealthIndicator.class));
    }

    @Test
    void theInformationCanBeSwitchedOff() {
        runner.withPropertyValues("management.info.prefetch.enabled=false")
                .run(context -> assertThat(context).hasNotFailed().doesNotHaveBean(PrefetchInfoContributor.class));
    }

    @Test
    void thereAreNoMetersWithoutARegistry() {
        runner.run(context -> assertThat(context).hasNotFailed().doesNotHaveBean(PrefetchMetrics.class));
    }

    @Test
    void backsOffWithoutActuator() {
        metered.withClassLoader(new FilteredClassLoader("org.springframework.boot.actuate"))
                .run(context -> assertThat(context)
                        .hasNotFailed()
                        .hasSingleBean(PrefetchChatModel.class)
                        .hasSingleBean(PrefetchMetrics.class)
                        .doesNotHaveBean("prefetchEndpoint")
                        .doesNotHaveBean("prefetchInfoContributor"));
    }

    @Test
    void backsOffWithoutHealth() {
        runner.withClassLoader(new FilteredClassLoader("org.springframework.boot.health"))
                .run(context -> assertThat(context)
                        .hasNotFailed()
                        .hasSingleBean(PrefetchChatModel.class)
                        .doesNotHaveBean("prefetchHealthContributor"));
    }

    @Test
    void backsOffWithoutMicrometer() {
        runner.withClassLoader(new FilteredClassLoader("io.micrometer.core"))
                .run(context -> assertThat(context)
                        .hasNotFailed()
                        .hasSingleBean(PrefetchChatModel.class)
                        .doesNotHaveBean("prefetchMetrics"));
    }

    @Test
    void backsOffWithoutAnyOfThem() {
        runner.withClassLoader(new FilteredClassLoader(
                        "org.springframework.boot.actuate", "org.springframework.boot.health", "io.micrometer.core"))
                .run(context -> assertThat(context).hasNotFailed().hasSingleBean(PrefetchChatModel.class));
    }

    @Test
    void isNotThereWithoutAnEngine() {
        new ApplicationContextRunner()
                .withConfiguration(AutoConfigurations.of(
                        PrefetchEngineAutoConfiguration.class, PrefetchActuatorAutoConfiguration.class))
                .withPropertyValues("spring.ai.model.chat=none")
                .run(context -> assertThat(context).hasNotFailed().doesNotHaveBean(PrefetchHealthIndicator.class));
    }
}
