package dev.prefetch.spring;

import dev.prefetch.spring.ToolSyntax.WrittenCall;
import dev.prefetch.storage.Sha256;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.springframework.ai.chat.messages.AssistantMessage;
import org.springframework.ai.chat.messages.Message;

/**
 * Gives identifiers to the tool calls of one answer: the model's own where it wrote one, or else a digest of the call and
 * its place in the conversation. So the same conversation gets the same identifiers again, and none occurs twice in it.
 * They are nine letters and digits, which is what the strictest chat templates (Mistral's) accept.
 */
final class ToolCallIds {

    private static final int LENGTH = 9;
    private static final String DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

    private final Set<String> used;

    private ToolCallIds(Set<String> used) {
        this.used = used;
    }

    /** Identifiers for the answer to a conversation. */
    static ToolCallIds of(List<Message> conversation) {
        Set<String> used = new HashSet<>();
        for (Message message : conversation) {
            if (message instanceof AssistantMessage assistant) {
                assistant.getToolCalls().forEach(call -> used.add(call.id()));
            }
        }
        return new ToolCallIds(used);
    }

    /** The calls with identifiers, as Spring AI knows them. To be called once. */
    List<AssistantMessage.ToolCall> complete(List<WrittenCall> calls) {
        List<AssistantMessage.ToolCall> complete = new ArrayList<>();
        for (WrittenCall call : calls) {
            complete.add(new AssistantMessage.ToolCall(id(call), "function", call.name(), call.arguments()));
        }
        return complete;
    }

    private String id(WrittenCall call) {
        if (call.id() != null && !call.id().isBlank() && used.add(call.id())) {
            return call.id();
        }
        for (int place = used.size(); ; place++) {
            String id = digest(place + "\n" + call.name() + "\n" + call.arguments());
            if (used.add(id)) {
                return id;
            }
        }
    }

    private static String digest(String text) {
        byte[] hash = Sha256.begin().digest(text.getBytes(StandardCharsets.UTF_8));
        StringBuilder id = new StringBuilder();
        for (int i = 0; i < LENGTH; i++) {
            id.append(DIGITS.charAt((hash[i] & 0xff) % DIGITS.length()));
        }
        return id.toString();
    }
}
