package dev.prefetch.sample.web;

import org.jspecify.annotations.Nullable;

/** What a streamed answer consists of: texts and calls of tools, then exactly one of the others. */
sealed interface ChatEvent {

    /** The event's name in the stream. */
    String name();

    /**
     * More text of the answer.
     */
    record Delta(String text) implements ChatEvent {
        @Override
        public String name() {
            return "delta";
        }
    }

    /**
     * The model has called a tool, and goes on with what that said.
     *
     * @param tool its name
     * @param arguments a JSON object
     * @param result what it said
     */
    record ToolUsed(String tool, String arguments, String result) implements ChatEvent {
        @Override
        public String name() {
            return "tool";
        }
    }

    /**
     * The answer is complete.
     *
     * @param finishReason {@code stop}, {@code length}, or {@code cancelled} when the user stopped it
     * @param promptTokens tokens of the prompt; null when the model did not say, as for a stopped answer
     * @param completionTokens tokens of the answer; null as above
     * @param timeToFirstTokenMillis from the request until the first text; null when there was none
     * @param tokensPerSecond after the first token; null when unknown
     * @param totalMillis from the request until the end
     */
    record Done(
            String finishReason,
            @Nullable Integer promptTokens,
            @Nullable Integer completionTokens,
            @Nullable Double timeToFirstTokenMillis,
            @Nullable Double tokensPerSecond,
            double totalMillis)
            implements ChatEvent {
        @Override
        public String name() {
            return "done";
        }
    }

    /**
     * There is no answer.
     *
     * @param message why, for the user
     */
    record Failed(String message) implements ChatEvent {
        @Override
        public String name() {
            return "error";
        }
    }
}
