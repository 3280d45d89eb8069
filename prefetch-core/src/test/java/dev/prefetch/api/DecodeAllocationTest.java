package dev.prefetch.api;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.ThreadMXBean;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.inference.SamplingOptions;
import dev.prefetch.inference.Speculation;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.prefetch.Regime;
import dev.prefetch.testing.DemoModel;
import dev.prefetch.testing.RandomModel;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.IntStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * What the engine's threads allocate on the heap for a generated token: a few small objects for each block of weights and
 * for the token's text. So the bound is a number of bytes per layer; it does not grow with the model's width, its
 * vocabulary or its experts, nor with the context.
 *
 * <p>While kernels still run in the interpreter or are compiled without optimisation, every vector is an object. So the
 * same tokens are generated again and again until the bound is kept, which a token that allocates more never does. Each case
 * has a process of its own, so that what the compiler learned from other models and kernels plays no part. In one of about
 * fifteen the compiler leaves the sums of one attention kernel as objects for good, which depends on when it compiles what,
 * and is no matter of this code: hence more than one process.
 */
class DecodeAllocationTest {

    private static final long BYTES_PER_TOKEN = 6_000;
    private static final long BYTES_PER_LAYER = 2_000;
    private static final long BYTES_PER_EXPERT = 1_000;

    private static final String KEPT = "bound kept";

    private static final int MOST_PROCESSES = 3;
    private static final int MOST_ROUNDS = 120;
    private static final int TOKENS = 80;

    private static final String KERNELS = "prefetch.cpu.kernels";

    @ParameterizedTest
    @CsvSource({
        "demo, auto, 400",
        "demo, scalar, 4",
        "llama-Q4_K_M, auto, 4",
        "qwen3moe-Q8_0, auto, 4",
    })
    void aTokenAllocatesLittle(String model, String kernels, int promptTokens) throws Exception {
        Path file = model.equals("demo") ? DemoModel.file() : RandomModel.file(model);
        String output = "";
        for (int i = 0; i < MOST_PROCESSES && !output.contains(KEPT); i++) {
            output = run(file, kernels, promptTokens);
        }
        assertThat(output).contains(KEPT);
    }

    private static String run(Path file, String kernels, int promptTokens) throws Exception {
        Process process = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "--add-modules",
                        "jdk.incubator.vector",
                        "--enable-native-access=ALL-UNNAMED",
                        "-D" + KERNELS + "=" + kernels,
                        "-cp",
                        System.getProperty("java.class.path"),
                        DecodeAllocationTest.class.getName(),
                        Integer.toString(MOST_ROUNDS),
                        Integer.toString(promptTokens),
                        file.toString())
                .redirectErrorStream(true)
                .start();
        try {
            String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            assertThat(process.waitFor(1, TimeUnit.MINUTES)).isTrue();
            return output;
        } finally {
            process.destroyForcibly();
        }
    }

    /** Prints the bytes per token round by round until the bound is kept: most rounds, tokens of the prompt, file. */
    public static void main(String[] arguments) throws Exception {
        Path file = Path.of(arguments[2]);
        long bound = bound(file);
        try (PrefetchEngine engine = open(file)) {
            for (int round = 0; round < Integer.parseInt(arguments[0]); round++) {
                long bytes = bytesPerToken(engine, Integer.parseInt(arguments[1]));
                System.out.printf("%s: %d bytes per token, bound %d%n", file.getFileName(), bytes, bound);
                if (bytes > 0 && bytes <= bound) {
                    System.out.println(KEPT);
                    return;
                }
            }
        }
    }

    private static long bound(Path model) {
        try (GgufFile file = GgufFile.open(model)) {
            ModelConfig config = ModelConfig.read(file);
            long perLayer = BYTES_PER_LAYER + config.expertsUsed() * BYTES_PER_EXPERT;
            return BYTES_PER_TOKEN + config.layers() * perLayer;
        }
    }

    private static PrefetchEngine open(Path model) {
        // Nothing may run between two requests, and every sweep carries one token.
        ServingOptions serving = ServingOptions.DEFAULT.withoutPromptCache().withSpeculation(Speculation.OFF);
        return PrefetchEngine.open(EngineOptions.of(model)
                .withThreads(2)
                .withMaxConcurrency(1)
                .withContextLength(512)
                .withServing(serving));
    }

    /** Of the decode sweeps of an answer, from the moment on when it shows its first text. */
    private static long bytesPerToken(PrefetchEngine engine, int promptTokens) throws InterruptedException {
        Prompt prompt = new Prompt.Tokens(
                IntStream.range(0, promptTokens).map(i -> 3 + i % 200).boxed().toList());
        long[] threads = engineThreads();
        AtomicReference<Reading> first = new AtomicReference<>();
        GenerationListener listener = new GenerationListener() {
            @Override
            public void onText(String text) {
                if (first.get() == null) {
                    first.set(Reading.take(engine, threads));
                }
            }
        };
        engine.generate(new GenerationRequest(prompt, SamplingOptions.GREEDY, TOKENS, List.of(), true), listener)
                .await();
        Reading last = Reading.take(engine, threads);
        assertThat(first.get()).as("the answer has text").isNotNull();
        long sweeps = last.sweeps - first.get().sweeps;
        assertThat(sweeps).isGreaterThan(TOKENS / 2);
        return (last.bytes - first.get().bytes) / sweeps;
    }

    /** The compute thread, its workers and the threads that read weights. */
    private static long[] engineThreads() {
        long[] threads = Thread.getAllStackTraces().keySet().stream()
                .filter(thread -> thread.getName().startsWith("prefetch-"))
                .mapToLong(Thread::threadId)
                .toArray();
        assertThat(threads).hasSizeGreaterThanOrEqualTo(2);
        return threads;
    }

    /**
     * @param sweeps decode sweeps so far
     * @param bytes what the engine's threads have allocated so far
     */
    private record Reading(long sweeps, long bytes) {

        static Reading take(PrefetchEngine engine, long[] threads) {
            ThreadMXBean bean = (ThreadMXBean) ManagementFactory.getThreadMXBean();
            long bytes = Arrays.stream(bean.getThreadAllocatedBytes(threads)).sum();
            return new Reading(engine.statistics(Regime.DECODE).sweeps(), bytes);
        }
    }
}
