package dev.prefetch.spring.autoconfigure;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.spring.PrefetchChatModel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.springframework.ai.chat.messages.AssistantMessage;
import org.springframework.ai.chat.messages.Message;
import org.springframework.ai.chat.messages.UserMessage;
import org.springframework.ai.chat.model.ChatResponse;
import org.springframework.ai.chat.prompt.Prompt;
import org.springframework.boot.WebApplicationType;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Configuration;

/** A conversation goes on after the application was started anew, and only what is new of it is computed. */
@Timeout(120)
class PromptCacheFileRestartTest {

    private static final Path MODEL =
            Path.of("..", "sample-app", "src", "main", "resources", "demo-model", "tiny-demo-chat-Q8_0.gguf");

    private static final UserMessage FIRST = new UserMessage("Good morning, my name is Mateo.");
    private static final UserMessage SECOND = new UserMessage("Do you remember my name?");

    @TempDir
    private Path folder;

    /** An application with nothing but the starter. */
    @Configuration(proxyBeanMethods = false)
    @EnableAutoConfiguration
    static class Application {}

    private ConfigurableApplicationContext start(String... properties) {
        return new SpringApplicationBuilder(Application.class)
                .web(WebApplicationType.NONE)
                .logStartupInfo(false)
                .properties(
                        "spring.ai.prefetch.model=" + MODEL,
                        "spring.ai.prefetch.chat.temperature=0",
                        "spring.main.banner-mode=off",
                        "logging.level.root=WARN")
                .properties(properties)
                .run();
    }

    private static ChatResponse ask(ConfigurableApplicationContext context, Message... messages) {
        return context.getBean(PrefetchChatModel.class).call(new Prompt(List.of(messages)));
    }

    private static String text(ChatResponse response) {
        return Objects.requireNonNull(
                Objects.requireNonNull(response.getResult()).getOutput().getText());
    }

    private static long cached(ChatResponse response) {
        return Objects.requireNonNull(response.getMetadata().getUsage().getCacheReadInputTokens());
    }

    @Test
    void aSecondStartComputesTheNewTokensAlone() {
        String property = "spring.ai.prefetch.prompt-cache-file=" + folder.resolve("prompts.cache");
        AssistantMessage answer;
        int known;
        ChatResponse here;
        try (ConfigurableApplicationContext context = start(property)) {
            ChatResponse first = ask(context, FIRST);
            answer = new AssistantMessage(text(first));
            known = first.getMetadata().getUsage().getTotalTokens();
            // The answer is computed as part of a prompt when the engine has nothing else to do.
            PrefetchEngine engine = context.getBean(PrefetchEngine.class);
            Awaitility.await()
                    .until(() -> engine.status().counters().answerTokens()
                            >= first.getMetadata().getUsage().getCompletionTokens());
        }
        assertThat(folder.resolve("prompts.cache")).isRegularFile();
        try (ConfigurableApplicationContext context = start("spring.ai.prefetch.prompt-cache=0")) {
            here = ask(context, FIRST, answer, SECOND);
            assertThat(cached(here)).isZero();
        }

        try (ConfigurableApplicationContext context = start(property)) {
            ChatResponse next = ask(context, FIRST, answer, SECOND);

            assertThat(text(next)).isEqualTo(text(here)).contains("Mateo");
            // All there was, but for the token that ended the answer and what the template puts behind it.
            assertThat(cached(next)).isBetween(known - 4L, (long) known);
        }
    }

    @Test
    void aFileThatIsNoneCostsNothing() throws Exception {
        Path file = folder.resolve("prompts.cache");
        Files.writeString(file, "not a prompt cache at all, ".repeat(20));

        try (ConfigurableApplicationContext context =
                start("spring.ai.prefetch.prompt-cache-file=" + file, "spring.ai.prefetch.warm-up=false")) {
            assertThat(cached(ask(context, FIRST))).isZero();
        }
        assertThat(Files.readString(file, StandardCharsets.ISO_8859_1)).startsWith("PREFETCH");
    }
}
