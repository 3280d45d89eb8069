package dev.prefetch.api;

import dev.prefetch.inference.SequenceListener;
import dev.prefetch.inference.StopCause;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/** Passes what happens to a sequence on to the application. */
final class LocalGeneration implements Generation, SequenceListener {

    private final int promptTokens;
    private final GenerationListener listener;
    private final Consumer<RuntimeException> onFailure;
    private final CompletableFuture<GenerationResult> result = new CompletableFuture<>();
    private volatile @Nullable Runnable canceller;
    private volatile boolean cancelled;

    LocalGeneration(int promptTokens, GenerationListener listener, Consumer<RuntimeException> onFailure) {
        this.promptTokens = promptTokens;
        this.onFailure = onFailure;
        this.listener = Objects.requireNonNull(listener, "listener");
    }

    /** Learns how to cancel; a listener may have asked for it already. */
    void onCancel(Runnable action) {
        canceller = action;
        if (cancelled) {
            action.run();
        }
    }

    @Override
    public void cancel() {
        cancelled = true;
        Runnable action = canceller;
        if (action != null) {
            action.run();
        }
    }

    @Override
    public boolean isDone() {
        return result.isDone();
    }

    @Override
    public GenerationResult await() throws InterruptedException {
        try {
            return result.get();
        } catch (ExecutionException e) {
            if (e.getCause() instanceof RuntimeException failure) {
                throw failure;
            }
            throw new IllegalStateException("generation failed", e.getCause());
        }
    }

    @Override
    public void onText(String text) {
        listener.onText(text);
    }

    @Override
    public void onEnd(End end) {
        GenerationResult ended = new GenerationResult(
                end.text(),
                end.tokens(),
                reason(end.cause()),
                promptTokens,
                end.cachedTokens(),
                new GenerationResult.Timings(
                        end.queueNanos(), end.prefillNanos(), end.firstTokenNanos(), end.decodeNanos()),
                end.transfers());
        try {
            listener.onComplete(ended);
        } finally {
            result.complete(ended);
        }
    }

    @Override
    public void onFailure(RuntimeException failure) {
        onFailure.accept(failure);
        try {
            listener.onFailure(failure);
        } finally {
            result.completeExceptionally(failure);
        }
    }

    private static FinishReason reason(StopCause cause) {
        return switch (cause) {
            case END_TOKEN, STOP_SEQUENCE -> FinishReason.STOP;
            case MAX_TOKENS, CONTEXT_FULL -> FinishReason.LENGTH;
            case CANCELLED -> FinishReason.CANCELLED;
        };
    }
}
