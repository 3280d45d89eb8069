package dev.prefetch.sample.cli;

import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.PrefetchEngine;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.ExitCode;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** {@code logits}: the numbers behind the next token, for comparison with other engines. */
@Command(
        name = "logits",
        description = "Writes the logits after each of the given tokens as raw little-endian float32,"
                + " [tokens x vocabulary].")
final class LogitsCommand implements Callable<Integer> {

    private static final int WRITE_BUFFER_BYTES = 1 << 16;

    private final CliContext context;

    @Spec
    private CommandSpec spec = CommandSpec.create();

    @Option(names = "--model", paramLabel = "MODEL", required = true, description = ModelLocation.DESCRIPTION + ".")
    private ModelLocation model = new ModelLocation("");

    @Option(
            names = "--tokens",
            paramLabel = "IDS",
            required = true,
            description = "Token ids, separated by commas or blanks.")
    private String tokens = "";

    @Option(names = "--out", paramLabel = "FILE", required = true, description = "File to write.")
    private Path out = Path.of("");

    @Option(
            names = "--step-by-step",
            description =
                    "Process one token at a time through the decode kernels, as an answer is written, instead of all"
                            + " at once as a prompt is.")
    private boolean stepByStep;

    @Mixin
    private final EngineMixin engineOptions = new EngineMixin();

    LogitsCommand(CliContext context) {
        this.context = context;
    }

    @Override
    public Integer call() throws IOException, InterruptedException {
        int[] ids = parseTokens();
        EngineOptions options = engineOptions.options(context.modelFile(model));
        if (options.contextLength() == 0 && ids.length > EngineOptions.DEFAULT_CONTEXT_LENGTH) {
            options = options.withContextLength(ids.length);
        }
        try (PrefetchEngine engine = context.engines().apply(options)) {
            float[] logits = engine.logits(ids, stepByStep);
            write(logits);
            context.err().println(ids.length + " x " + logits.length / ids.length + " logits written to " + out);
        }
        return ExitCode.OK;
    }

    private int[] parseTokens() {
        try {
            int[] ids = Arrays.stream(tokens.strip().split("[\\s,]+"))
                    .filter(token -> !token.isEmpty())
                    .mapToInt(Integer::parseInt)
                    .toArray();
            if (ids.length == 0) {
                throw new ParameterException(spec.commandLine(), "--tokens needs at least one token id");
            }
            return ids;
        } catch (NumberFormatException e) {
            throw new ParameterException(
                    spec.commandLine(), "--tokens must be token ids separated by commas: " + e.getMessage(), e);
        }
    }

    private void write(float[] values) throws IOException {
        ByteBuffer buffer = ByteBuffer.allocateDirect(WRITE_BUFFER_BYTES).order(ByteOrder.LITTLE_ENDIAN);
        try (FileChannel channel = FileChannel.open(
                out, StandardOpenOption.CREATE, StandardOpenOption.WRITE, StandardOpenOption.TRUNCATE_EXISTING)) {
            int written = 0;
            while (written < values.length) {
                int count = Math.min(values.length - written, WRITE_BUFFER_BYTES / Float.BYTES);
                buffer.clear();
                buffer.asFloatBuffer().put(values, written, count);
                buffer.limit(count * Float.BYTES);
                while (buffer.hasRemaining()) {
                    channel.write(buffer);
                }
                written += count;
            }
        }
    }
}
