package dev.prefetch.testing;

import dev.prefetch.gguf.GgufFile;
import dev.prefetch.gguf.GgufTensor;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Splits a GGUF file as llama.cpp's {@code gguf-split} does: all metadata and some tensors in the first file. */
public final class GgufSplitter {

    private GgufSplitter() {}

    /**
     * Writes the files and returns their paths.
     *
     * @param model a file of version 3 with the usual alignment
     * @param count how many files; the tensors are dealt out in order, about as many to each
     */
    public static List<Path> split(Path model, int count, Path folder) {
        List<Path> files = new ArrayList<>();
        try (GgufFile whole = GgufFile.open(model)) {
            List<GgufTensor> tensors = whole.tensors();
            List<byte[]> metadata = GgufFields.of(Files.readAllBytes(model)).entries();
            for (int part = 0; part < count; part++) {
                GgufWriter writer = new GgufWriter();
                if (part == 0) {
                    metadata.forEach(writer::entry);
                }
                writer.uint16("split.no", part).uint16("split.count", count).put("split.tensors.count", tensors.size());
                for (int i = part * tensors.size() / count; i < (part + 1) * tensors.size() / count; i++) {
                    GgufTensor tensor = tensors.get(i);
                    byte[] bytes = whole.slice(tensor).toArray(ValueLayout.JAVA_BYTE);
                    writer.tensor(tensor.name(), tensor.type(), tensor.dimensions(), bytes);
                }
                files.add(writer.write(folder.resolve("model-%05d-of-%05d.gguf".formatted(part + 1, count))));
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return files;
    }
}
