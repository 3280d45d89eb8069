package dev.prefetch.testing;

import dev.prefetch.gguf.GgufFile;
import dev.prefetch.gguf.GgufTensor;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * Puts the gates and the up projections of all experts of a layer into one tensor, as llama.cpp's
 * {@code convert_hf_to_gguf.py --fuse-gate-up-exps} does: per expert the rows of its gate, then those of its up projection.
 */
public final class ExpertFuser {

    private static final String GATE = "ffn_gate_exps.weight";
    private static final String UP = "ffn_up_exps.weight";

    private ExpertFuser() {}

    /** Writes a model with experts once more, with the same weights. */
    public static Path fuse(Path model, Path target) {
        GgufWriter writer = new GgufWriter();
        try (GgufFile file = GgufFile.open(model)) {
            GgufFields.of(Files.readAllBytes(model)).entries().forEach(writer::entry);
            for (GgufTensor tensor : file.tensors()) {
                if (tensor.name().endsWith(GATE)) {
                    GgufTensor up = file.find(tensor.name().replace(GATE, UP)).orElseThrow();
                    writer.tensor(
                            tensor.name().replace(GATE, "ffn_gate_up_exps.weight"),
                            tensor.type(),
                            List.of(tensor.dimension(0), 2 * tensor.dimension(1), tensor.dimension(2)),
                            interleaved(bytes(file, tensor), bytes(file, up), (int) tensor.dimension(2)));
                } else if (!tensor.name().endsWith(UP)) {
                    writer.tensor(tensor.name(), tensor.type(), tensor.dimensions(), bytes(file, tensor));
                }
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return writer.write(target);
    }

    private static byte[] bytes(GgufFile file, GgufTensor tensor) {
        return file.slice(tensor).toArray(ValueLayout.JAVA_BYTE);
    }

    private static byte[] interleaved(byte[] gates, byte[] ups, int experts) {
        int each = gates.length / experts;
        ByteArrayOutputStream all = new ByteArrayOutputStream(2 * gates.length);
        for (int expert = 0; expert < experts; expert++) {
            all.write(gates, expert * each, each);
            all.write(ups, expert * each, each);
        }
        return all.toByteArray();
    }
}
