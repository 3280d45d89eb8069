package dev.prefetch.spring;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.PrefetchEngine;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.springframework.ai.chat.client.ChatClient;
import org.springframework.ai.tool.annotation.Tool;

/** Tool round trips with real generation: the demo model, Spring AI's loop, and nothing scripted. */
@Timeout(120)
class DemoModelToolsTest {

    private static final Path MODEL =
            Path.of("..", "sample-app", "src", "main", "resources", "demo-model", "tiny-demo-chat-Q8_0.gguf");

    private static PrefetchEngine engine;

    @BeforeAll
    static void open() {
        engine = PrefetchEngine.open(EngineOptions.of(MODEL));
    }

    @AfterAll
    static void close() {
        engine.close();
    }

    private static ChatClient client() {
        return ChatClient.create(PrefetchChatModel.builder(engine)
                .options(PrefetchChatOptions.builder().temperature(0.0).build())
                .build());
    }

    /** Tools in the style of those the model was trained with. */
    static final class Shop {

        private final List<String> calls = new ArrayList<>();

        @Tool(description = "Find an order")
        public String trackOrder(String number) {
            calls.add("trackOrder " + number);
            return "Order " + number + " is pending";
        }

        @Tool(description = "Multiply two numbers")
        public int product(int a, int b) {
            calls.add("product " + a + " " + b);
            return a * b;
        }
    }

    @Test
    void callsAToolAndAnswersWithItsResult() {
        Shop shop = new Shop();

        String answer =
                client().prompt("Any news on order 73459?").tools(shop).call().content();

        assertThat(shop.calls).containsExactly("trackOrder 73459");
        assertThat(answer).contains("73459").contains("pending");
    }

    @Test
    void streamsTheAnswerAfterAToolCall() {
        Shop shop = new Shop();

        List<String> parts =
                Objects.requireNonNull(client().prompt("How much is 84 multiplied by 6").tools(shop).stream()
                        .content()
                        .collectList()
                        .block(Duration.ofSeconds(60)));

        assertThat(shop.calls).containsExactly("product 84 6");
        assertThat(String.join("", parts)).contains("504").doesNotContain("<tool_call>");
        assertThat(parts).hasSizeGreaterThan(2);
    }

    @Test
    void answersWithoutAToolWhenNoneIsNeeded() {
        Shop shop = new Shop();

        assertThat(client().prompt("What is GGUF?").tools(shop).call().content())
                .contains("GGUF")
                .doesNotContain("<tool_call>");
        assertThat(shop.calls).isEmpty();
    }
}
