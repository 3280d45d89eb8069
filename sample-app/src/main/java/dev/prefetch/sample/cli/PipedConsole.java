package dev.prefetch.sample.cli;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import org.jspecify.annotations.Nullable;

/** Standard streams: one line of input is one message; answers alone go to standard output. */
final class PipedConsole implements ChatConsole {

    private final CliContext context;
    private final BufferedReader in;

    PipedConsole(CliContext context) {
        this.context = context;
        this.in = new BufferedReader(new InputStreamReader(context.in(), StandardCharsets.UTF_8));
    }

    @Override
    public @Nullable String readLine() {
        try {
            return in.readLine();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public void print(String text) {
        context.out().print(text);
        context.out().flush();
    }

    @Override
    public void status(String line) {
        context.err().println(line);
    }

    /** Ctrl-C ends the process, as for every command in a pipe. */
    @Override
    public void onInterrupt(Runnable action) {}

    @Override
    public void close() {
        context.out().flush();
    }
}
