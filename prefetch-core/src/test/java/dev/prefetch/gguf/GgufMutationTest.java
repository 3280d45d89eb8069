package dev.prefetch.gguf;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.fail;

import com.sun.management.ThreadMXBean;
import dev.prefetch.testing.Conformance;
import dev.prefetch.testing.GgufMutator;
import dev.prefetch.testing.GgufWriter;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.random.RandomGenerator;
import java.util.random.RandomGeneratorFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * A thousand damaged files: each is opened or refused with a {@link GgufFormatException}; nothing else is thrown, and
 * what is allocated stays in proportion to the file.
 */
class GgufMutationTest {

    private static final int MUTATIONS = 1000;

    private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

    @Test
    void opensOrRefusesEveryMutation(@TempDir Path folder) throws IOException {
        long seed = Long.getLong("prefetch.test.seed", System.nanoTime());
        System.out.println("GGUF mutations: seed " + seed + " (repeat with -Dprefetch.test.seed)");
        RandomGenerator random = RandomGeneratorFactory.of("L64X128MixRandom").create(seed);
        List<GgufMutator> bases = bases();
        for (GgufMutator base : bases) {
            // Loads the classes, whose bytes are not the file's fault.
            assertThat(open(Files.write(folder.resolve("base.gguf"), base.bytes()), base.name()))
                    .isTrue();
        }
        int refused = 0;
        for (int i = 0; i < MUTATIONS; i++) {
            GgufMutator base = bases.get(i % bases.size());
            StringBuilder story = new StringBuilder("seed " + seed + ", mutation " + i + " of " + base.name() + ":");
            byte[] mutated = base.damage(random, story);
            Path file = Files.write(folder.resolve("mutated.gguf"), mutated);
            long before = THREADS.getCurrentThreadAllocatedBytes();
            boolean opened = open(file, story.toString());
            long allocated = THREADS.getCurrentThreadAllocatedBytes() - before;
            // A damaged length may take tensor data for text, so the whole file counts, not only its head.
            long bound = 16L * base.headBytes() + 8L * mutated.length + (1 << 20);
            assertThat(allocated).as(story.toString()).isLessThan(bound);
            refused += opened ? 0 : 1;
        }
        // Flips in names, values and weights go unnoticed, damaged lengths do not.
        assertThat(refused).as("seed %d", seed).isBetween(MUTATIONS / 4, MUTATIONS - 1);
    }

    private static List<GgufMutator> bases() throws IOException {
        List<GgufMutator> bases = new ArrayList<>();
        bases.add(GgufMutator.of("written", written()));
        if (Conformance.isPresent()) {
            for (String name : List.of("logits/llama-Q2_K.gguf", "logits/gemma3-Q4_K_M.gguf")) {
                bases.add(GgufMutator.of(
                        name, Files.readAllBytes(Conformance.folder().resolve(name))));
            }
            String vocabulary = "tokenizers/ggml-vocab-llama-spm.gguf";
            bases.add(GgufMutator.of(
                    vocabulary, Files.readAllBytes(Conformance.folder().resolve(vocabulary))));
        }
        return bases;
    }

    /** Everything the format can say, small enough that half of the bytes are structure. */
    private static byte[] written() {
        return new GgufWriter()
                .version(2)
                .alignment(64)
                .put("general.architecture", "llama")
                .uint8("a", 1)
                .put("b", new boolean[] {true, false})
                .put("c", List.of("one", "two", "", "four"))
                .put("d", List.of(List.of(new int[] {1, 2}, new short[] {3}), List.of(List.of("x"))))
                .put("e", new double[] {1, 2})
                .unsignedArray("f", new long[] {1, -1})
                .f32Tensor("norm", List.of(4L), 1, 2, 3, 4)
                .tensor("q4", GgmlType.Q4_0, List.of(64L, 2L), new byte[72])
                .tensor("q6", GgmlType.Q6_K, List.of(256L, 1L, 2L), new byte[420])
                .toBytes();
    }

    /** Whether the file opened; false when it was refused as it should be. */
    private static boolean open(Path file, String story) {
        try (GgufFile gguf = GgufFile.open(file)) {
            for (GgufTensor tensor : gguf.tensors()) {
                MemorySegment data = gguf.slice(tensor);
                data.get(ValueLayout.JAVA_BYTE, data.byteSize() - 1);
            }
            return true;
        } catch (GgufFormatException e) {
            assertThat(e.getMessage()).as(story).startsWith(file + ": offset ");
            return false;
        } catch (RuntimeException | Error e) {
            return fail(story, e);
        }
    }
}
