package dev.prefetch.testing;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;

/**
 * The exact logits of a {@link RandomModel}: computed in float64 from the dequantised weights by {@code exact.py} beside the
 * resources.
 *
 * @param logits {@code [tokens x vocabulary]}, of {@link #tokens}
 * @param tolerance how far a backend may be from them, as a relative root of mean squares: 1.25 times the distance of
 *     llama.cpp, at most 0.04 (beyond it llama.cpp has chosen another expert somewhere); 1e-5 for F32
 */
public record ExactLogits(float[] logits, double tolerance) {

    private static final String FOLDER = "/dev/prefetch/api/logits/";
    private static final double MOST = 0.04;
    private static final double OF_F32 = 1e-5;

    /** The reference of the random model with that name. */
    public static ExactLogits of(String model) {
        ByteBuffer bytes = ByteBuffer.wrap(resource(model + ".exact.f32")).order(ByteOrder.LITTLE_ENDIAN);
        float[] logits = new float[bytes.remaining() / Float.BYTES];
        bytes.asFloatBuffer().get(logits);
        return new ExactLogits(logits, model.endsWith("-F32") ? OF_F32 : Math.min(MOST, 1.25 * peerDistance(model)));
    }

    /** The tokens that the logits follow, in a sequence of their own. */
    public static int[] tokens() {
        return IntStream.range(0, 16).map(i -> (i * 7919 + 13) % 259).toArray();
    }

    private static double peerDistance(String model) {
        String references = new String(resource("references.json"), StandardCharsets.UTF_8);
        Matcher matcher = Pattern.compile(
                        "\"" + Pattern.quote(model) + "\"\\s*:\\s*\\{[^}]*\"peerRelativeRms\"\\s*:\\s*([-+.eE0-9]+)")
                .matcher(references);
        if (!matcher.find()) {
            throw new IllegalArgumentException("references.json has no entry for " + model);
        }
        return Double.parseDouble(matcher.group(1));
    }

    private static byte[] resource(String name) {
        try (InputStream in = ExactLogits.class.getResourceAsStream(FOLDER + name)) {
            if (in == null) {
                throw new IllegalArgumentException("there is no resource " + FOLDER + name);
            }
            return in.readAllBytes();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
