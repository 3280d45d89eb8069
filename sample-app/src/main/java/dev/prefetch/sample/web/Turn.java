package dev.prefetch.sample.web;

import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.jspecify.annotations.Nullable;
import org.springframework.ai.chat.metadata.Usage;
import org.springframework.ai.chat.model.ChatResponse;
import org.springframework.ai.chat.model.Generation;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Sinks;

/**
 * One answer while it is being written: its text so far, its measurements, and the switch that stops it. Thread-safe: it
 * is fed by the stream, stopped by another request, and closed by whichever thread finds the client gone.
 */
final class Turn {

    /** Where the engine's own measurement is; taken when the text arrives here, it would include the way. */
    private static final String TOKENS_PER_SECOND = "tokens-per-second";

    private final long startNanos = System.nanoTime();
    private final Queue<ChatEvent> calls = new ConcurrentLinkedQueue<>();
    private final StringBuilder text = new StringBuilder();
    private final Sinks.Empty<Void> stop = Sinks.empty();
    private final Sinks.Empty<Void> ended = Sinks.empty();
    private volatile boolean stopRequested;
    private long firstTextNanos;
    private long lastTextNanos;
    private @Nullable String finishReason;
    private @Nullable Usage usage;
    private @Nullable Double reportedTokensPerSecond;

    /** Asks the answer to end. */
    void stop() {
        stopRequested = true;
        stop.tryEmitEmpty();
    }

    /** Completes when {@link #stop()} is called. */
    Mono<Void> stopped() {
        return stop.asMono();
    }

    /** Tells those who wait in {@link #ended()} that the conversation is free again. */
    void end() {
        ended.tryEmitEmpty();
    }

    /** Completes when the answer has ended, in whatever way. */
    Mono<Void> ended() {
        return ended.asMono();
    }

    /** Notes a call of a tool, which is shown with what comes next. */
    void note(ChatEvent.ToolUsed call) {
        calls.add(call);
    }

    /** Takes a part of the model's response and returns what to show: calls of tools since the last part, then its text. */
    synchronized List<ChatEvent> add(ChatResponse response) {
        List<ChatEvent> shown = new ArrayList<>();
        for (ChatEvent call = calls.poll(); call != null; call = calls.poll()) {
            shown.add(call);
        }
        String piece = take(response);
        if (!piece.isEmpty()) {
            shown.add(new ChatEvent.Delta(piece));
        }
        return shown;
    }

    private String take(ChatResponse response) {
        Usage reportedUsage = response.getMetadata().getUsage();
        if (reportedUsage != null && reportedUsage.getTotalTokens() > 0) {
            usage = reportedUsage;
        }
        if (response.getMetadata().get(TOKENS_PER_SECOND) instanceof Number reportedSpeed) {
            reportedTokensPerSecond = reportedSpeed.doubleValue();
        }
        Generation generation = response.getResult();
        if (generation == null) {
            return "";
        }
        String reason = generation.getMetadata().getFinishReason();
        if (reason != null && !reason.isEmpty()) {
            finishReason = reason;
        }
        String piece = generation.getOutput().getText();
        if (piece == null || piece.isEmpty()) {
            return "";
        }
        lastTextNanos = System.nanoTime();
        if (text.isEmpty()) {
            firstTextNanos = lastTextNanos;
        }
        text.append(piece);
        return piece;
    }

    /** The text so far. */
    synchronized String text() {
        return text.toString();
    }

    /** The closing event of an answer that did not fail. */
    synchronized ChatEvent.Done summary() {
        Integer completionTokens = usage == null ? null : usage.getCompletionTokens();
        return new ChatEvent.Done(
                reason(),
                usage == null ? null : usage.getPromptTokens(),
                completionTokens,
                text.isEmpty() ? null : (firstTextNanos - startNanos) / 1e6,
                tokensPerSecond(completionTokens),
                (System.nanoTime() - startNanos) / 1e6);
    }

    private @Nullable Double tokensPerSecond(@Nullable Integer completionTokens) {
        if (reportedTokensPerSecond != null) {
            return reportedTokensPerSecond > 0 ? reportedTokensPerSecond : null;
        }
        if (completionTokens == null || completionTokens < 2 || lastTextNanos <= firstTextNanos) {
            return null;
        }
        return (completionTokens - 1) * 1e9 / (lastTextNanos - firstTextNanos);
    }

    private String reason() {
        if (finishReason != null) {
            return finishReason;
        }
        return stopRequested ? "cancelled" : "stop";
    }
}
