package dev.prefetch.spring.autoconfigure;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.PrefetchEngine;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.springframework.ai.chat.client.ChatClient;
import org.springframework.ai.embedding.EmbeddingModel;
import org.springframework.aot.test.generate.TestGenerationContext;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.context.ApplicationContextInitializer;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.aot.ApplicationContextAotGenerator;
import org.springframework.context.support.GenericApplicationContext;
import org.springframework.core.env.MapPropertySource;
import org.springframework.core.test.tools.CompileWithForkedClassLoader;
import org.springframework.core.test.tools.TestCompiler;

/** Ahead-of-time processing, as {@code process-aot} does it, of an application with the starter; it starts and answers. */
@Timeout(300)
class AheadOfTimeTest {

    private static final String MODEL = Path.of(
                    "..", "sample-app", "src", "main", "resources", "demo-model", "tiny-demo-chat-Q8_0.gguf")
            .toString();

    private static final Map<String, Object> PROPERTIES = Map.of(
            "spring.ai.prefetch.model", MODEL,
            "spring.ai.prefetch.chat.temperature", "0",
            "spring.ai.prefetch.models.second.model", MODEL);

    /** An application with nothing but the starter. */
    @Configuration(proxyBeanMethods = false)
    @EnableAutoConfiguration
    static class Application {}

    private static void configure(GenericApplicationContext context) {
        context.getEnvironment().getPropertySources().addFirst(new MapPropertySource("test", PROPERTIES));
    }

    /** Generated code stands in our packages and uses what is visible there, so it needs their class loader. */
    @Test
    @CompileWithForkedClassLoader
    void anApplicationThatWasProcessedStartsAndAnswers() {
        TestGenerationContext generated = new TestGenerationContext();
        try (AnnotationConfigApplicationContext described = new AnnotationConfigApplicationContext()) {
            configure(described);
            described.register(Application.class);
            new ApplicationContextAotGenerator().processAheadOfTime(described, generated);
            generated.writeGeneratedContent();
        }
        TestCompiler.forSystem().with(generated).compile(compiled -> {
            @SuppressWarnings("unchecked")
            ApplicationContextInitializer<GenericApplicationContext> initializer =
                    compiled.getInstance(ApplicationContextInitializer.class);
            try (GenericApplicationContext context = new GenericApplicationContext()) {
                configure(context);
                initializer.initialize(context);
                context.refresh();

                assertThat(context.getBean(ChatClient.Builder.class)
                                .build()
                                .prompt("What is GGUF?")
                                .call()
                                .content())
                        .contains("GGUF");
                assertThat(context.getBeansOfType(PrefetchEngine.class))
                        .containsOnlyKeys("prefetchEngine", "secondEngine");
                assertThat(context.getBean(EmbeddingModel.class).dimensions()).isPositive();
            }
        });
    }
}
