package dev.prefetch.sample.cli;

import dev.prefetch.api.EngineInfo;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.sample.DemoModel;
import java.io.Console;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code chat}: a conversation in the terminal. */
@Command(
        name = "chat",
        description = "Holds a conversation in the terminal, or answers the lines of a pipe.",
        footer = {
            "",
            "/new starts a new conversation, /exit ends. Ctrl-C stops an answer; at the prompt Ctrl-C or Ctrl-D ends."
        })
final class ChatCommand implements Callable<Integer> {

    private final CliContext context;

    @Option(
            names = "--model",
            paramLabel = "MODEL",
            description = ModelLocation.DESCRIPTION + " (default: the demo model).")
    private @Nullable ModelLocation model;

    @Option(names = "--system", paramLabel = "TEXT", description = "System message.")
    private @Nullable String system;

    @Option(
            names = "--max-tokens",
            paramLabel = "N",
            description = "Most tokens of an answer; 0 for as many as the context has room for (default: 0).")
    private int maxTokens;

    @Mixin
    private final SamplingMixin sampling = new SamplingMixin();

    @Mixin
    private final EngineMixin engineOptions = new EngineMixin();

    ChatCommand(CliContext context) {
        this.context = context;
    }

    @Override
    public Integer call() throws InterruptedException {
        Path file = model != null ? context.modelFile(model) : DemoModel.asFile();
        try (PrefetchEngine engine = context.engines().apply(engineOptions.options(file));
                ChatConsole console = openConsole()) {
            EngineInfo info = engine.info();
            if (console instanceof TerminalConsole) {
                console.status("%s, %s, context of %d tokens, on %s. /new, /exit; Ctrl-C stops an answer."
                        .formatted(info.modelName(), info.quantization(), info.contextLength(), info.device()));
            }
            return new ChatSession(engine, console, system, sampling.options(), maxTokens).run();
        }
    }

    private ChatConsole openConsole() {
        Console console = System.console();
        boolean terminal = context.in() == System.in && console != null && console.isTerminal();
        return terminal ? new TerminalConsole() : new PipedConsole(context);
    }
}
