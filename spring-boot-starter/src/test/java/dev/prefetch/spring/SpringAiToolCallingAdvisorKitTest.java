package dev.prefetch.spring;

import org.springframework.ai.chat.model.ChatModel;
import org.springframework.ai.test.chat.client.advisor.AbstractToolCallingAdvisorIT;

/** The kit for applications that register the advisor themselves. */
class SpringAiToolCallingAdvisorKitTest extends AbstractToolCallingAdvisorIT {

    @Override
    protected ChatModel getChatModel() {
        return PrefetchChatModel.builder(SpringAiToolCallingKitTest.weatherEngine())
                .build();
    }
}
