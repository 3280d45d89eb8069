package dev.prefetch.sample.cli;

import java.io.IOException;
import java.io.UncheckedIOException;
import org.jline.reader.EndOfFileException;
import org.jline.reader.LineReader;
import org.jline.reader.LineReaderBuilder;
import org.jline.reader.UserInterruptException;
import org.jline.terminal.Terminal;
import org.jline.terminal.TerminalBuilder;
import org.jline.utils.AttributedString;
import org.jline.utils.AttributedStyle;
import org.jspecify.annotations.Nullable;

/** A terminal with line editing, a history of this session, and Ctrl-C that does not end the process. */
final class TerminalConsole implements ChatConsole {

    private final Terminal terminal;
    private final LineReader reader;

    TerminalConsole() {
        try {
            this.terminal =
                    TerminalBuilder.builder().name("prefetch").system(true).build();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        this.reader = LineReaderBuilder.builder()
                .terminal(terminal)
                // A message may contain "!": it must not be taken for a reference to the history.
                .option(LineReader.Option.DISABLE_EVENT_EXPANSION, true)
                .build();
    }

    @Override
    public @Nullable String readLine() {
        try {
            return reader.readLine("> ");
        } catch (UserInterruptException | EndOfFileException e) {
            return null;
        }
    }

    @Override
    public void print(String text) {
        terminal.writer().print(text);
        terminal.flush();
    }

    @Override
    public void status(String line) {
        terminal.writer().println(new AttributedString(line, AttributedStyle.DEFAULT.faint()).toAnsi(terminal));
        terminal.flush();
    }

    @Override
    public void onInterrupt(Runnable action) {
        terminal.handle(Terminal.Signal.INT, signal -> action.run());
    }

    @Override
    public void close() {
        try {
            terminal.close();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
