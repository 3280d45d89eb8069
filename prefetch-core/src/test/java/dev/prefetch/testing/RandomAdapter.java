package dev.prefetch.testing;

import dev.prefetch.gguf.GgmlType;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.gguf.GgufTensor;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.function.Predicate;

/** A random LoRA adapter of a model, and the model with the adapter's changes inside. */
public final class RandomAdapter {

    private static final int RANK = 4;

    private final float alpha;
    private final String architecture;
    private final List<Change> changes = new ArrayList<>();

    /** {@code down [experts x rank x cols]}, {@code up [experts x rows x rank]}. */
    private record Change(GgufTensor target, float[] down, float[] up) {

        /** The file has the matrices of an embedding the other way round: a row of the first per token. */
        boolean ofEmbedding() {
            return target.name().equals("token_embd.weight");
        }
    }

    /**
     * @param names which tensors it changes
     * @param alpha the adapter's own factor, divided by its rank of four; 0 for none
     */
    public RandomAdapter(Path model, Predicate<String> names, float alpha, long seed) {
        this.alpha = alpha;
        Random random = new Random(seed);
        try (GgufFile file = GgufFile.open(model)) {
            architecture = file.metadata().requireString("general.architecture");
            for (GgufTensor tensor : file.tensors()) {
                boolean oneRow = tensor.name().endsWith("ffn_gate_inp_shexp.weight");
                if (names.test(tensor.name()) && (oneRow || tensor.dimensions().size() > 1)) {
                    int cols = (int) tensor.dimension(0);
                    int rows = (int) tensor.dimension(1);
                    int experts = (int) tensor.dimension(2);
                    changes.add(new Change(
                            tensor,
                            values(random, experts * RANK * cols, 1 / Math.sqrt(cols)),
                            values(random, experts * rows * RANK, 0.25)));
                }
            }
        }
    }

    private static float[] values(Random random, int count, double deviation) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) (Math.sqrt(12) * deviation * (random.nextFloat() - 0.5));
        }
        return values;
    }

    /** Writes the adapter's file. */
    public Path write(Path file) {
        return writer().write(file);
    }

    /** The adapter's file, to be spoilt by tests. */
    public GgufWriter writer() {
        GgufWriter writer = new GgufWriter()
                .put("general.architecture", architecture)
                .put("general.type", "adapter")
                .put("adapter.type", "lora")
                .put("adapter.lora.alpha", alpha);
        for (Change change : changes) {
            GgufTensor target = change.target();
            long experts = target.dimension(2);
            if (change.ofEmbedding()) {
                long tokens = target.dimension(1);
                writer.f32Tensor(target.name() + ".lora_a", List.of((long) RANK, tokens), change.up());
                float[] transposed = transposed(change.down(), RANK);
                writer.f32Tensor(target.name() + ".lora_b", List.of((long) RANK, target.dimension(0)), transposed);
                continue;
            }
            writer.f32Tensor(target.name() + ".lora_a", dimensions(target.dimension(0), RANK, experts), change.down());
            writer.f32Tensor(target.name() + ".lora_b", dimensions(RANK, target.dimension(1), experts), change.up());
        }
        return writer;
    }

    private static float[] transposed(float[] matrix, int rows) {
        int cols = matrix.length / rows;
        float[] result = new float[matrix.length];
        for (int i = 0; i < matrix.length; i++) {
            result[i % cols * rows + i / cols] = matrix[i];
        }
        return result;
    }

    private static List<Long> dimensions(long cols, long rows, long experts) {
        return experts == 1 ? List.of(cols, rows) : List.of(cols, rows, experts);
    }

    /** Adds the changes, times a factor, to a copy of a model of F32 weights, in place. */
    public void mergeInto(Path model, float scale) throws IOException {
        float factor = alpha == 0 ? scale : scale * alpha / RANK;
        ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(model)).order(ByteOrder.LITTLE_ENDIAN);
        for (Change change : changes) {
            GgufTensor target = change.target();
            if (target.type() != GgmlType.F32) {
                throw new IllegalArgumentException(target + " is not of plain numbers");
            }
            int cols = (int) target.dimension(0);
            int rows = (int) target.dimension(1);
            for (int row = 0; row < rows * target.dimension(2); row++) {
                for (int col = 0; col < cols; col++) {
                    double sum = 0;
                    for (int r = 0; r < RANK; r++) {
                        sum += (double) change.up()[row * RANK + r]
                                * change.down()[(row / rows * RANK + r) * cols + col];
                    }
                    int at = (int) target.offset() + Float.BYTES * (row * cols + col);
                    bytes.putFloat(at, (float) (bytes.getFloat(at) + factor * sum));
                }
            }
        }
        Files.write(model, bytes.array());
    }
}
