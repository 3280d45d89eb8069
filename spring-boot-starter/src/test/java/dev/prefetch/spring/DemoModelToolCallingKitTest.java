package dev.prefetch.spring;

import dev.prefetch.api.PrefetchEngine;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.springframework.ai.chat.model.ChatModel;
import org.springframework.ai.test.chat.client.advisor.AbstractToolCallingAdvisorAutoRegistrationIT;

/** Spring AI's own tests of its tool-calling advisor, with generation by the demo model. */
class DemoModelToolCallingKitTest extends AbstractToolCallingAdvisorAutoRegistrationIT {

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
