package dev.prefetch.spring;

import dev.prefetch.api.PrefetchEngine;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.springframework.ai.chat.model.ChatModel;
import org.springframework.ai.test.chat.client.advisor.AbstractToolCallingAdvisorIT;

/** The kit for applications that register the advisor themselves, with generation by the demo model. */
class DemoModelToolCallingAdvisorKitTest extends AbstractToolCallingAdvisorIT {

    private static PrefetchEngine engine;

    @BeforeAll
    static void open() {
        engine = SteeredDemoEngine.open();
    }

    @AfterAll
    static void close() {
        engine.close();
    }

    @Override
    protected ChatModel getChatModel() {
        return SteeredDemoEngine.chatModel(engine);
    }
}
