package dev.prefetch.sample.cli;

import org.jspecify.annotations.Nullable;

/** Where a conversation is held: a terminal, or a pipe. */
interface ChatConsole extends AutoCloseable {

    /** Waits for the user's next line; null at the end (Ctrl-C or Ctrl-D at the prompt, end of a pipe). */
    @Nullable
    String readLine();

    /** Shows text of the answer at once. */
    void print(String text);

    /** Shows a line that is not part of the conversation. */
    void status(String line);

    /** Sets what Ctrl-C does while no line is being read. */
    void onInterrupt(Runnable action);

    @Override
    void close();
}
