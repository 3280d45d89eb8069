package dev.prefetch.sample.cli;

import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.ModelCaches;
import dev.prefetch.api.PrefetchEngine;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.function.Function;

/**
 * What commands use of the world outside.
 *
 * @param in standard input
 * @param out standard output, UTF-8: results only, so that it can be piped
 * @param err standard error, UTF-8: everything meant for the person at the terminal
 * @param engines opens engines
 * @param caches where other tools keep the models they have downloaded
 */
record CliContext(
        InputStream in,
        PrintStream out,
        PrintStream err,
        Function<EngineOptions, PrefetchEngine> engines,
        ModelCaches caches) {

    /** The process's own streams and the real engine. */
    static CliContext system() {
        // Not the platform's charset: texts of a model are Unicode, whatever the locale.
        return new CliContext(
                System.in,
                new PrintStream(System.out, true, StandardCharsets.UTF_8),
                new PrintStream(System.err, true, StandardCharsets.UTF_8),
                PrefetchEngine::open,
                ModelCaches.ofSystem());
    }

    /** The file that {@code --model} names. */
    Path modelFile(ModelLocation model) {
        return model.file(caches);
    }

    /** All of standard input. Malformed UTF-8 is refused, since its replacement would silently change the result. */
    String readInput() throws IOException {
        byte[] bytes = in.readAllBytes();
        try {
            return StandardCharsets.UTF_8
                    .newDecoder()
                    .decode(ByteBuffer.wrap(bytes))
                    .toString();
        } catch (CharacterCodingException e) {
            throw new CommandFailedException("standard input is not valid UTF-8", e);
        }
    }
}
