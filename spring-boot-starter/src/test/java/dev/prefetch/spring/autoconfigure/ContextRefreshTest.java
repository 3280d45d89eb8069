package dev.prefetch.spring.autoconfigure;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.EngineStatus;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.spring.ProcessResources;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.ai.chat.client.ChatClient;
import org.springframework.boot.WebApplicationType;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Configuration;

/** A context gives back what its engine held: mappings, memory, threads and files are the same after the twentieth. */
@Timeout(300)
class ContextRefreshTest {

    private static final Logger LOG = LoggerFactory.getLogger(ContextRefreshTest.class);

    private static final Path MODEL =
            Path.of("..", "sample-app", "src", "main", "resources", "demo-model", "tiny-demo-chat-Q8_0.gguf");

    private static final int REFRESHES = 20;

    /** Refreshes after which the JVM has what it needs itself: classes, compiled code, thread stacks. */
    private static final int SETTLING = 6;

    /** Far less than the KV cache of one engine, 32 MiB, or twenty copies of the weights. */
    private static final long SLACK_BYTES = 24L << 20;

    /** An application with nothing but the starter. */
    @Configuration(proxyBeanMethods = false)
    @EnableAutoConfiguration
    static class Application {}

    @ParameterizedTest
    @ValueSource(strings = {"100%", "50%"})
    void closedContextsLeaveNothingBehind(String weights) throws Exception {
        Assumptions.assumeTrue(ProcessResources.isSupported(), "needs /proc");
        List<ProcessResources> after = new ArrayList<>();
        for (int i = 0; i < REFRESHES; i++) {
            PrefetchEngine engine;
            try (ConfigurableApplicationContext context = new SpringApplicationBuilder(Application.class)
                    .web(WebApplicationType.NONE)
                    .logStartupInfo(false)
                    .properties(
                            "spring.ai.prefetch.model=" + MODEL,
                            "spring.ai.prefetch.memory.weights=" + weights,
                            "spring.ai.prefetch.chat.temperature=0",
                            "spring.main.banner-mode=off",
                            "logging.level.root=WARN")
                    .run()) {
                engine = context.getBean(PrefetchEngine.class);
                ChatClient client = context.getBean(ChatClient.Builder.class).build();
                assertThat(client.prompt("What is GGUF?").call().content()).contains("GGUF");
                assertThat(ProcessResources.now(".gguf").mappings()).isPositive();
            }
            assertThat(engine.status().state()).isEqualTo(EngineStatus.State.CLOSED);
            after.add(ProcessResources.now(".gguf"));
        }
        ProcessResources settled = after.get(SETTLING);
        ProcessResources last = after.getLast();
        LOG.warn("After {} refreshes: {}; after {}: {}", SETTLING + 1, settled, REFRESHES, last);

        assertThat(after).allSatisfy(now -> assertThat(now.mappings()).isZero());
        assertThat(last.files()).isLessThanOrEqualTo(settled.files());
        // One that the JVM or a library starts once may come late; one for each refresh would be thirteen.
        assertThat(last.threads() - settled.threads()).isLessThan(3);
        assertThat(last.heapBytes() - settled.heapBytes()).isLessThan(SLACK_BYTES);
        assertThat(last.anonymousBytes() - settled.anonymousBytes()).isLessThan(SLACK_BYTES * 2);
    }
}
