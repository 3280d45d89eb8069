package dev.prefetch.spring;

import dev.prefetch.api.ChatMessage;
import dev.prefetch.api.FinishReason;
import dev.prefetch.api.Prompt.Chat;
import java.util.stream.Collectors;
import org.springframework.ai.chat.model.ChatModel;
import org.springframework.ai.test.chat.client.advisor.AbstractToolCallingAdvisorAutoRegistrationIT;

/** Spring AI's own tests of its tool-calling advisor, on our chat model with a scripted engine in place of a model. */
class SpringAiToolCallingKitTest extends AbstractToolCallingAdvisorAutoRegistrationIT {

    /** Asks for the weather of every city in the question, in one turn, and then repeats what the tool said. */
    static FakeEngine weatherEngine() {
        return FakeEngine.scripted(generation -> {
                    Chat chat = (Chat) generation.request().prompt();
                    if (chat.messages().getLast().role().equals("tool")) {
                        generation.text(chat.messages().stream()
                                .filter(message -> message.role().equals("tool"))
                                .map(ChatMessage::content)
                                .collect(Collectors.joining(" and ")));
                    } else {
                        String question = chat.messages().getLast().content();
                        for (String city : new String[] {"San Francisco", "Tokyo", "Paris"}) {
                            if (question.contains(city)) {
                                generation.text(
                                        "<tool_call>{\"name\": \"getCurrentWeather\", \"arguments\": {\"location\":"
                                                + " \"" + city
                                                + "\", \"lat\": 1, \"lon\": 2, \"unit\": \"C\"}}</tool_call>");
                            }
                        }
                    }
                    generation.complete(FinishReason.STOP);
                })
                .withTemplate("<tool_call>");
    }

    @Override
    protected ChatModel getChatModel() {
        return PrefetchChatModel.builder(weatherEngine()).build();
    }
}
