package dev.prefetch.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.prefetch.api.AcceleratorOptions;
import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.cuda.simulator.Settings;
import dev.prefetch.cuda.simulator.SimulatedDriver;
import dev.prefetch.prefetch.CostModel;
import dev.prefetch.prefetch.MemoryAmount;
import dev.prefetch.prefetch.PlanException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Logits of whole models, computed by the CUDA backend on the simulated driver. */
class WholeModelTest {

    private static final Path DEMO = Path.of("../sample-app/src/main/resources/demo-model/tiny-demo-chat-Q8_0.gguf");
    private static final int TOKENS = 20;
    private static final int DECODED = 5;

    /** A link so fast that nothing is left to the host, and no time spent on measuring it. */
    private static final CostModel FAST_LINK = new CostModel(1e12, 8e9, 60e9, 0.6, false);

    private SimulatedDriver driver;

    @BeforeEach
    void load() {
        driver = SimulatedDriver.load(Settings.defaults().kernels(Devices.KERNELS, Settings.Kernels.FAST));
    }

    @AfterEach
    void nothingIsFoundAndNothingLeft() {
        assertThat(driver.findings()).isEmpty();
        assertThat(driver.live()).isEqualTo(SimulatedDriver.Live.NONE);
    }

    private static Path conformance() {
        String folder = System.getProperty("prefetch.conformance.dir", "");
        return folder.isBlank() ? Path.of("absent") : Path.of(folder).resolve("logits");
    }

    private static boolean hasConformance() {
        return Files.isDirectory(conformance());
    }

    /** Models with exact logits; one name so that the test does not vanish where the data is absent. */
    static List<String> referenceModels() throws IOException {
        return hasConformance()
                ? conformanceModels().stream().filter(WholeModelTest::inSuite).toList()
                : List.of("llama-F32");
    }

    private static List<String> conformanceModels() throws IOException {
        try (Stream<Path> files = Files.list(conformance())) {
            return files.map(file -> file.getFileName().toString())
                    .filter(name -> name.endsWith(".gguf"))
                    .map(name -> name.replace(".gguf", ""))
                    .sorted()
                    .toList();
        }
    }

    /**
     * Every architecture in one quantised format, and one in some more; with {@code -Dprefetch.test.everyModel=true} every
     * model there is, which takes minutes.
     */
    static List<Path> models() throws IOException {
        return allModels().stream()
                .filter(model -> !model.startsWith(conformance())
                        || inSuite(model.getFileName().toString().replace(".gguf", "")))
                .toList();
    }

    private static boolean inSuite(String name) {
        return Boolean.getBoolean("prefetch.test.everyModel")
                || name.matches("llama-(F16|Q8_0|IQ4_XS)|.*-Q4_K_M|gpt-oss-MXFP4");
    }

    private static List<Path> allModels() throws IOException {
        List<Path> models = new ArrayList<>(List.of(DEMO));
        if (hasConformance()) {
            for (String name : conformanceModels()) {
                models.add(conformance().resolve(name + ".gguf"));
            }
        }
        return models;
    }

    private static EngineOptions options(Path model) {
        EngineOptions options = EngineOptions.of(model)
                .withThreads(2)
                .withMaxConcurrency(1)
                .withUbatch(16)
                .withBackend("cuda")
                .withAccelerator(AcceleratorOptions.AUTO.withDecodeOnHost(false));
        return options.withMemory(options.memory().withCosts(FAST_LINK));
    }

    /**
     * The tolerance is that of the CPU backend: 1.25 times the distance llama.cpp has from exact, 1e-3 at least for F16.
     * Decoding computes in f32 throughout and must be ten times as close, where that is not closer than f32 itself.
     */
    @ParameterizedTest
    @MethodSource("referenceModels")
    void staysWithinTheToleranceOfTheReference(String model) throws Exception {
        assumeTrue(
                hasConformance(), "no conformance data: the system property prefetch.conformance.dir names no folder");
        int[] tokens = Arrays.stream(Files.readString(conformance().resolve("ids.txt"))
                        .strip()
                        .split(","))
                .mapToInt(Integer::parseInt)
                .toArray();
        float[] exact = readFloats(conformance().resolve(model + ".exact.f32"));
        double tolerance = 1.25 * peerDistance(model);
        if (model.endsWith("-F16")) {
            tolerance = Math.max(tolerance, 1e-3);
        }
        try (PrefetchEngine engine = PrefetchEngine.open(options(conformance().resolve(model + ".gguf")))) {
            assertThat(engine.plan().accelerated()).isTrue();
            assertThat(engine.plan().allResident()).isTrue();
            double prefill = relativeRms(engine.logits(tokens, false), exact);
            double decode = relativeRms(engine.logits(tokens, true), exact);
            assertThat(prefill).as("prefill of %s", model).isLessThanOrEqualTo(tolerance);
            assertThat(decode).as("decode of %s", model).isLessThanOrEqualTo(Math.max(tolerance / 10, 1e-5));
        }
    }

    @ParameterizedTest
    @MethodSource("models")
    void streamedWeightsGiveTheBitsOfResidentOnes(Path model) throws Exception {
        int[] tokens;
        float[] prefill;
        float[] decode;
        try (PrefetchEngine engine = PrefetchEngine.open(options(model))) {
            assertThat(engine.plan().allResident()).isTrue();
            tokens = IntStream.range(0, TOKENS)
                    .map(i -> (i * 7919 + 13) % engine.info().vocabularySize())
                    .toArray();
            prefill = engine.logits(tokens, false);
            decode = engine.logits(Arrays.copyOf(tokens, DECODED), true);
        }
        int streaming = 0;
        for (int lookAhead : new int[] {0, 2}) {
            EngineOptions half = options(model);
            half = half.withMemory(
                    half.memory().withWeights(MemoryAmount.parse("60%")).withLookAheadBlocks(lookAhead));
            try (PrefetchEngine engine = PrefetchEngine.open(half)) {
                assertThat(engine.plan().allResident()).isFalse();
                assertThat(Arrays.equals(engine.logits(tokens, false), prefill))
                        .as("prefill of %s, look-ahead %d", model, lookAhead)
                        .isTrue();
                assertThat(Arrays.equals(engine.logits(Arrays.copyOf(tokens, DECODED), true), decode))
                        .as("decode of %s, look-ahead %d", model, lookAhead)
                        .isTrue();
                assertThat(engine.statistics().linkBytes()).isPositive();
                assertThat(engine.statistics().failures()).isZero();
                streaming++;
            } catch (PlanException e) {
                // So many slots do not fit into so small a part of this model.
                assertThat(lookAhead).as(e.getMessage()).isPositive();
            }
        }
        assertThat(streaming).isPositive();
    }

    @ParameterizedTest
    @MethodSource("models")
    void agreesWithTheCpuBackend(Path model) throws Exception {
        int[] tokens;
        float[] cpu;
        try (PrefetchEngine engine = PrefetchEngine.open(
                EngineOptions.of(model).withThreads(2).withMaxConcurrency(1).withUbatch(16))) {
            tokens = IntStream.range(0, TOKENS)
                    .map(i -> (i * 7919 + 13) % engine.info().vocabularySize())
                    .toArray();
            cpu = engine.logits(tokens, false);
        }
        try (PrefetchEngine engine = PrefetchEngine.open(options(model))) {
            // Both prefill in at least half precision; what is left is its rounding, and a router's near ties.
            assertThat(relativeRms(engine.logits(tokens, false), cpu)).isLessThanOrEqualTo(5e-3);
        }
    }

    private static double peerDistance(String model) throws IOException {
        String text = Files.readString(conformance().resolve("tolerances.json"));
        Matcher matcher = Pattern.compile(
                        "\"" + Pattern.quote(model) + "\"\\s*:\\s*\\{[^}]*\"peerRelativeRms\"\\s*:\\s*([-+.eE0-9]+)")
                .matcher(text);
        assertThat(matcher.find()).as(model).isTrue();
        return Double.parseDouble(matcher.group(1));
    }

    private static float[] readFloats(Path file) throws IOException {
        ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
        float[] floats = new float[bytes.remaining() / Float.BYTES];
        bytes.asFloatBuffer().get(floats);
        return floats;
    }

    private static double relativeRms(float[] actual, float[] exact) {
        assertThat(actual).hasSameSizeAs(exact);
        double error = 0;
        double size = 0;
        for (int i = 0; i < exact.length; i++) {
            error += Math.pow((double) actual[i] - exact[i], 2);
            size += Math.pow(exact[i], 2);
        }
        double distance = Math.sqrt(error / size);
        assertThat(distance).isNotNaN();
        return distance;
    }
}
