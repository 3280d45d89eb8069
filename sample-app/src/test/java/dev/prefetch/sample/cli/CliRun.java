package dev.prefetch.sample.cli;

import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.ModelCaches;
import dev.prefetch.api.PrefetchEngine;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.function.Function;

/**
 * One run of the command line.
 *
 * @param exitCode exit status
 * @param out standard output
 * @param err standard error
 */
record CliRun(int exitCode, String out, String err) {

    static CliRun of(String... arguments) {
        return withInput("", arguments);
    }

    static CliRun withInput(String input, String... arguments) {
        return run(input.getBytes(StandardCharsets.UTF_8), PrefetchEngine::open, arguments);
    }

    static CliRun run(byte[] input, Function<EngineOptions, PrefetchEngine> engines, String... arguments) {
        return run(input, engines, ModelCaches.ofSystem(), arguments);
    }

    static CliRun run(String input, ModelCaches caches, String... arguments) {
        return run(input.getBytes(StandardCharsets.UTF_8), PrefetchEngine::open, caches, arguments);
    }

    private static CliRun run(
            byte[] input, Function<EngineOptions, PrefetchEngine> engines, ModelCaches caches, String... arguments) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        ByteArrayOutputStream err = new ByteArrayOutputStream();
        CliContext context = new CliContext(
                new ByteArrayInputStream(input),
                new PrintStream(out, true, StandardCharsets.UTF_8),
                new PrintStream(err, true, StandardCharsets.UTF_8),
                engines,
                caches);
        int exitCode = PrefetchCommand.commandLine(context).execute(arguments);
        return new CliRun(exitCode, out.toString(StandardCharsets.UTF_8), err.toString(StandardCharsets.UTF_8));
    }
}
