package dev.prefetch.sample.web;

import java.util.List;
import java.util.Locale;
import java.util.UUID;
import org.jspecify.annotations.Nullable;
import org.springframework.ai.chat.messages.Message;
import org.springframework.http.HttpStatus;
import org.springframework.http.MediaType;
import org.springframework.http.ProblemDetail;
import org.springframework.http.codec.ServerSentEvent;
import org.springframework.web.bind.annotation.DeleteMapping;
import org.springframework.web.bind.annotation.ExceptionHandler;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RequestMapping;
import org.springframework.web.bind.annotation.ResponseStatus;
import org.springframework.web.bind.annotation.RestController;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/** The chat's HTTP interface. */
@RestController
@RequestMapping("/api/conversations")
class ChatController {

    private final ChatService chat;
    private final ChatProperties properties;

    ChatController(ChatService chat, ChatProperties properties) {
        this.chat = chat;
        this.properties = properties;
    }

    /** Starts a conversation. */
    @PostMapping
    @ResponseStatus(HttpStatus.CREATED)
    Conversation start() {
        return new Conversation(UUID.randomUUID());
    }

    /** What was said so far, for a page that is loaded again. */
    @GetMapping("/{id}/messages")
    List<ShownMessage> messages(@PathVariable UUID id) {
        return chat.messages(id).stream().map(ShownMessage::of).toList();
    }

    /** Answers a message with a stream of {@link ChatEvent}s; closing the connection stops the model. */
    @PostMapping(path = "/{id}/messages", produces = MediaType.TEXT_EVENT_STREAM_VALUE)
    Flux<ServerSentEvent<ChatEvent>> answer(@PathVariable UUID id, @RequestBody Question question) {
        String text = question.text() == null ? "" : question.text();
        if (text.isBlank()) {
            throw new IllegalArgumentException("The message is empty.");
        }
        if (text.length() > properties.maxMessageCharacters()) {
            throw new IllegalArgumentException("The message has " + text.length() + " characters; at most "
                    + properties.maxMessageCharacters() + " are accepted.");
        }
        Flux<ServerSentEvent<ChatEvent>> events = chat.answer(id, text, Boolean.TRUE.equals(question.tools()))
                .map(event -> ServerSentEvent.builder(event).event(event.name()).build());
        return events.publish(this::withHeartbeat);
    }

    /** Stops the answer under way; returns when the conversation is free for the next message. */
    @PostMapping("/{id}/stop")
    @ResponseStatus(HttpStatus.NO_CONTENT)
    Mono<Void> stop(@PathVariable UUID id) {
        return chat.stop(id);
    }

    /** Forgets a conversation. */
    @DeleteMapping("/{id}")
    @ResponseStatus(HttpStatus.NO_CONTENT)
    Mono<Void> forget(@PathVariable UUID id) {
        return chat.forget(id);
    }

    @ExceptionHandler
    ProblemDetail refuse(IllegalArgumentException refusal) {
        return ProblemDetail.forStatusAndDetail(HttpStatus.BAD_REQUEST, refusal.getMessage());
    }

    @ExceptionHandler
    ProblemDetail refuse(ConversationBusyException refusal) {
        return ProblemDetail.forStatusAndDetail(HttpStatus.CONFLICT, refusal.getMessage());
    }

    /**
     * A server learns that a client has gone only when it writes to it, and while a long prompt is being processed there
     * is nothing to write: comments, which clients ignore, let it notice then too.
     */
    private Flux<ServerSentEvent<ChatEvent>> withHeartbeat(Flux<ServerSentEvent<ChatEvent>> events) {
        Flux<ServerSentEvent<ChatEvent>> heartbeat = Flux.interval(properties.heartbeat())
                .onBackpressureDrop()
                .map(tick -> ServerSentEvent.<ChatEvent>builder().comment("").build())
                .takeUntilOther(events.ignoreElements());
        return events.mergeWith(heartbeat);
    }

    record Conversation(UUID id) {}

    /**
     * @param tools whether the model may call tools
     */
    record Question(@Nullable String text, @Nullable Boolean tools) {}

    /**
     * @param role {@code user} or {@code assistant}
     */
    record ShownMessage(String role, String text) {

        static ShownMessage of(Message message) {
            String text = message.getText();
            return new ShownMessage(
                    message.getMessageType().getValue().toLowerCase(Locale.ROOT), text == null ? "" : text);
        }
    }
}
