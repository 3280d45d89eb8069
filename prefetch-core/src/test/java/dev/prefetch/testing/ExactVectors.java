package dev.prefetch.testing;

import dev.prefetch.inference.Pooling;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * What {@code exact.py} has computed in float64 of the hidden states that a {@link RandomEncoder} gives for
 * {@link #tokens}: their mean, the first and the last.
 */
public final class ExactVectors {

    private static final String FOLDER = "/dev/prefetch/api/logits/";

    private final float[] vectors;

    private ExactVectors(float[] vectors) {
        this.vectors = vectors;
    }

    /** The reference of the random encoder with that name. */
    public static ExactVectors of(String model) {
        try (InputStream in = ExactVectors.class.getResourceAsStream(FOLDER + model + ".exact.f32")) {
            if (in == null) {
                throw new IllegalArgumentException("there is no reference of " + model);
            }
            ByteBuffer bytes = ByteBuffer.wrap(in.readAllBytes()).order(ByteOrder.LITTLE_ENDIAN);
            float[] vectors = new float[bytes.remaining() / Float.BYTES];
            bytes.asFloatBuffer().get(vectors);
            return new ExactVectors(vectors);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** The tokens of the text. */
    public static int[] tokens() {
        return RandomEncoder.tokens(98);
    }

    /** The vector of the text, of whatever length it has. */
    public float[] vector(Pooling pooling) {
        int dim = vectors.length / 3;
        int index = switch (pooling) {
            case MEAN -> 0;
            case CLS -> 1;
            case LAST -> 2;
        };
        float[] vector = new float[dim];
        System.arraycopy(vectors, index * dim, vector, 0, dim);
        return vector;
    }
}
