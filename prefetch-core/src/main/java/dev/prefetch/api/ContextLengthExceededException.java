package dev.prefetch.api;

/** A prompt does not fit the context. The message states both numbers and the remedy. */
public final class ContextLengthExceededException extends RuntimeException {

    private static final long serialVersionUID = 1L;

    private final int promptTokens;
    private final int contextLength;

    public ContextLengthExceededException(int promptTokens, int contextLength) {
        this(
                "the prompt has " + promptTokens + " tokens but the context length is " + contextLength
                        + ", of which at least one is needed for the answer: shorten the prompt or raise the context"
                        + " length",
                promptTokens,
                contextLength);
    }

    ContextLengthExceededException(String message, int promptTokens, int contextLength) {
        super(message);
        this.promptTokens = promptTokens;
        this.contextLength = contextLength;
    }

    public int promptTokens() {
        return promptTokens;
    }

    public int contextLength() {
        return contextLength;
    }
}
