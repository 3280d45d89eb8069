package dev.prefetch.testing;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.random.RandomGenerator;

/**
 * A valid GGUF file, and damaged copies of it.
 *
 * @param name what to call it in messages
 * @param bytes the file
 * @param fields where its fields are
 */
public record GgufMutator(String name, byte[] bytes, GgufFields fields) {

    private static final long[] ABSURD = {
        0, 1, -1, 2, Long.MAX_VALUE, Long.MIN_VALUE, Integer.MAX_VALUE, 1L << 31, 1L << 32, 1L << 40, 1L << 60, -32
    };

    /** A file in memory. */
    public static GgufMutator of(String name, byte[] bytes) {
        return new GgufMutator(name, bytes, GgufFields.of(bytes));
    }

    /** A file on disk. */
    public static GgufMutator of(Path file) throws IOException {
        return of(file.getFileName().toString(), Files.readAllBytes(file));
    }

    /** Where the head ends, before the padding. */
    public int headBytes() {
        return fields.headBytes();
    }

    /** A copy with lengths, counts, types or single bits damaged, or cut off; appends to the story what was done. */
    public byte[] damage(RandomGenerator random, StringBuilder story) {
        byte[] bytes = this.bytes.clone();
        ByteBuffer view = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
        int head = fields.headBytes();
        switch (random.nextInt(6)) {
            case 0 -> {
                for (int n = random.nextInt(1, 9); n > 0; n--) {
                    int at = random.nextInt(random.nextInt(4) == 0 ? bytes.length : head);
                    bytes[at] ^= (byte) (1 << random.nextInt(8));
                    story.append(" flip at ").append(at);
                }
            }
            case 1 -> {
                int length = random.nextInt(1, random.nextBoolean() ? bytes.length : head);
                story.append(" cut to ").append(length);
                bytes = Arrays.copyOf(bytes, length);
            }
            case 2 -> {
                int at = pickLong(random);
                long value = ABSURD[random.nextInt(ABSURD.length)];
                story.append(" at ").append(at).append(" put ").append(value);
                view.putLong(at, value);
            }
            case 3 -> {
                int at = pickLong(random);
                long value = random.nextLong(2L * bytes.length);
                story.append(" at ").append(at).append(" put ").append(value);
                view.putLong(at, value);
            }
            case 4 -> {
                int one = pickLong(random);
                int other = pickLong(random);
                long value = view.getLong(one);
                story.append(" swap ").append(one).append(" and ").append(other);
                view.putLong(one, view.getLong(other));
                view.putLong(other, value);
            }
            default -> {
                int at = pick(fields.types(), random);
                int value = random.nextInt(4) == 0 ? random.nextInt() : random.nextInt(41);
                story.append(" type at ").append(at).append(" put ").append(value);
                view.putInt(at, value);
            }
        }
        return bytes;
    }

    private int pickLong(RandomGenerator random) {
        List<Integer> elements = fields.elementLengths();
        List<Integer> places = elements.isEmpty() || random.nextInt(3) > 0 ? fields.longs() : elements;
        return pick(places, random);
    }

    /**
     * A copy in which one or two 32-bit values, hyper-parameters for the most part, contradict the rest: absurd, twice,
     * half or almost as large as they were, or swapped with each other.
     */
    public byte[] contradict(RandomGenerator random, StringBuilder story) {
        byte[] copy = bytes.clone();
        ByteBuffer view = ByteBuffer.wrap(copy).order(ByteOrder.LITTLE_ENDIAN);
        for (int n = random.nextInt(1, 3); n > 0; n--) {
            int at = pick(fields.values(), random);
            int old = view.getInt(at);
            int value = switch (random.nextInt(6)) {
                case 0 -> (int) ABSURD[random.nextInt(ABSURD.length)];
                case 1 -> 1 << random.nextInt(31);
                case 2 -> old * 2;
                case 3 -> old / 2;
                case 4 -> old + random.nextInt(-2, 3);
                default -> view.getInt(pick(fields.values(), random));
            };
            story.append(" value at ")
                    .append(at)
                    .append(" was ")
                    .append(old)
                    .append(" put ")
                    .append(value);
            view.putInt(at, value);
        }
        return copy;
    }

    private static int pick(List<Integer> places, RandomGenerator random) {
        return places.get(random.nextInt(places.size()));
    }
}
