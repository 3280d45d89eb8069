package dev.prefetch.sample.web;

import java.util.List;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.ai.chat.client.ChatClient;
import org.springframework.ai.chat.memory.ChatMemory;
import org.springframework.ai.chat.messages.AssistantMessage;
import org.springframework.ai.chat.messages.Message;
import org.springframework.ai.chat.messages.UserMessage;
import org.springframework.ai.support.ToolCallbacks;
import org.springframework.ai.tool.ToolCallback;
import org.springframework.stereotype.Service;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;

/** Conversations with the model: at most one answer at a time in each, many conversations at once. */
@Service
class ChatService {

    private static final Logger log = LoggerFactory.getLogger(ChatService.class);

    private final ChatClient chatClient;
    private final ChatMemory memory;
    private final List<ToolCallback> tools;
    private final ConcurrentMap<UUID, Turn> turns = new ConcurrentHashMap<>();

    ChatService(ChatClient chatClient, ChatMemory memory, ChatTools tools) {
        this.chatClient = chatClient;
        this.memory = memory;
        this.tools = List.of(ToolCallbacks.from(tools));
    }

    /**
     * Answers a message. Cancelling the stream stops the model.
     *
     * @param withTools whether the model may call the tools
     * @throws ConversationBusyException when an answer of this conversation is under way
     */
    Flux<ChatEvent> answer(UUID conversation, String message, boolean withTools) {
        Turn turn = new Turn();
        if (turns.putIfAbsent(conversation, turn) != null) {
            throw new ConversationBusyException();
        }
        return chatClient
                .prompt()
                .user(message)
                .tools(withTools ? noting(turn) : List.of())
                .advisors(advisors -> advisors.param(ChatMemory.CONVERSATION_ID, conversation.toString()))
                .stream()
                .chatResponse()
                .takeUntilOther(turn.stopped())
                .flatMapIterable(turn::add)
                .concatWith(Mono.fromSupplier(() -> {
                    closeTurn(conversation, turn.text());
                    return turn.summary();
                }))
                .onErrorResume(failure -> {
                    closeTurn(conversation, "");
                    return Mono.just(describe(failure));
                })
                .doOnCancel(() -> closeTurn(conversation, turn.text()))
                .doFinally(signal -> {
                    turns.remove(conversation, turn);
                    turn.end();
                });
    }

    private List<ToolCallback> noting(Turn turn) {
        return tools.stream()
                .<ToolCallback>map(tool -> new NotingTool(tool, turn::note))
                .toList();
    }

    /** Stops the answer under way, if there is one; completes when the conversation is free for the next message. */
    Mono<Void> stop(UUID conversation) {
        return Mono.defer(() -> {
            Turn turn = turns.get(conversation);
            if (turn == null) {
                return Mono.empty();
            }
            turn.stop();
            return turn.ended();
        });
    }

    /** Stops what runs and forgets the conversation. */
    Mono<Void> forget(UUID conversation) {
        return stop(conversation)
                .publishOn(Schedulers.boundedElastic())
                .then(Mono.fromRunnable(() -> memory.clear(conversation.toString())));
    }

    /** The messages the model is shown, oldest first. */
    List<Message> messages(UUID conversation) {
        return memory.get(conversation.toString());
    }

    /**
     * Leaves the memory with an answer to every question. The memory advisor adds the user's message before the model is
     * asked and the answer only when it is complete: a stopped answer is added here as far as it was shown, and a
     * message without any answer is taken back, because many chat templates refuse two messages of the user in a row.
     */
    private void closeTurn(UUID conversation, String shownText) {
        String id = conversation.toString();
        List<Message> messages = memory.get(id);
        if (messages.isEmpty() || !(messages.getLast() instanceof UserMessage)) {
            return;
        }
        if (!shownText.isEmpty()) {
            memory.add(id, new AssistantMessage(shownText));
        } else {
            memory.clear(id);
            if (messages.size() > 1) {
                memory.add(id, messages.subList(0, messages.size() - 1));
            }
        }
    }

    private static ChatEvent describe(Throwable failure) {
        // The engine's own exceptions are written for the user; anything else is not, and belongs in the log.
        if (failure.getClass().getName().startsWith("dev.prefetch.") && failure.getMessage() != null) {
            log.info("No answer: {}", failure.getMessage());
            return new ChatEvent.Failed(failure.getMessage());
        }
        log.error("No answer", failure);
        return new ChatEvent.Failed(
                "The answer failed (" + failure.getClass().getSimpleName() + "). The application's log says more.");
    }
}
