package dev.prefetch.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.AcceleratorOptions;
import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.cuda.simulator.Settings;
import dev.prefetch.cuda.simulator.SimulatedDriver;
import dev.prefetch.prefetch.CostModel;
import dev.prefetch.prefetch.MemoryAmount;
import dev.prefetch.prefetch.PlanException;
import dev.prefetch.testing.ExactLogits;
import dev.prefetch.testing.RandomModel;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Logits of whole models, computed by the CUDA backend on the simulated driver. */
class WholeModelTest {

    private static final Path DEMO = Path.of("../sample-app/src/main/resources/demo-model/tiny-demo-chat-Q8_0.gguf");
    private static final System.Logger LOG = System.getLogger(WholeModelTest.class.getName());
    private static final int DECODED = 5;

    /** How far the backends may be from each other where no exact logits say how far each may be from them. */
    private static final double AS_CPU = 0.01;

    /** A link so fast that nothing is left to the host, and no time spent on measuring it. */
    private static final CostModel FAST_LINK = new CostModel(1e12, 8e9, 60e9, 0.6, false);

    /** Resident weights compute what several tests compare with, once. */
    private static final Map<String, Logits> RESIDENT = new HashMap<>();

    private SimulatedDriver driver;

    /**
     * A model, and its tokens.
     *
     * @param exact its exact logits, where there are any
     */
    private record Model(
            String name, Path file, int[] tokens, @Nullable ExactLogits exact) {
        @Override
        public String toString() {
            return name;
        }
    }

    private record Logits(float[] prefill, float[] decode) {}

    @BeforeEach
    void load() {
        driver = SimulatedDriver.load(Settings.defaults().kernels(Devices.KERNELS, Settings.Kernels.FAST));
    }

    @AfterEach
    void nothingIsFoundAndNothingLeft() {
        assertThat(driver.findings()).isEmpty();
        assertThat(driver.live()).isEqualTo(SimulatedDriver.Live.NONE);
    }

    /**
     * Every architecture once, in the mixture that most models are published in, and each of the smallest formats once; with
     * {@code -Dprefetch.test.everyModel=true} every model there is, in every format, which takes minutes.
     */
    static List<Model> models() throws IOException {
        List<Model> models = new ArrayList<>();
        for (String name : RandomModel.names()) {
            if (everyModel() && ModelChecks.supported(name) || ModelChecks.usual(name)) {
                models.add(new Model(name, RandomModel.file(name), ExactLogits.tokens(), ExactLogits.of(name)));
            }
        }
        int[] tokens = IntStream.range(0, 16).map(i -> (i * 7919 + 13) % 1000).toArray();
        models.add(new Model("the demo model", DEMO, tokens, null));
        if (everyModel()) {
            models.addAll(conformanceModels());
        }
        return models;
    }

    static List<Model> modelsWithExactLogits() throws IOException {
        return models().stream().filter(model -> model.exact != null).toList();
    }

    /** The core's tests hold the CPU backend to the same exact logits, so few builds need to compare the two themselves. */
    static List<Model> modelsToCompareWithTheCpuBackend() throws IOException {
        return models().stream()
                .filter(model -> everyModel() || model.exact == null)
                .toList();
    }

    private static boolean everyModel() {
        return Boolean.getBoolean("prefetch.test.everyModel");
    }

    /** Larger models with exact logits, and more formats, where the folder with such data is at hand. */
    private static List<Model> conformanceModels() throws IOException {
        String folder = System.getProperty("prefetch.conformance.dir", "");
        Path logits = folder.isBlank() ? Path.of("absent") : Path.of(folder).resolve("logits");
        if (!Files.isDirectory(logits)) {
            return List.of();
        }
        String tolerances = Files.readString(logits.resolve("tolerances.json"));
        int[] tokens = Arrays.stream(
                        Files.readString(logits.resolve("ids.txt")).strip().split(","))
                .mapToInt(Integer::parseInt)
                .toArray();
        List<Model> models = new ArrayList<>();
        try (Stream<Path> files = Files.list(logits)) {
            for (Path file :
                    files.filter(f -> f.toString().endsWith(".gguf")).sorted().toList()) {
                String name = file.getFileName().toString().replace(".gguf", "");
                float[] exact = readFloats(logits.resolve(name + ".exact.f32"));
                double tolerance = 1.25 * peerDistance(tolerances, name);
                models.add(new Model("larger " + name, file, tokens, new ExactLogits(exact, tolerance)));
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

    private static Logits resident(Model model) throws Exception {
        Logits known = RESIDENT.get(model.name);
        if (known != null) {
            return known;
        }
        try (PrefetchEngine engine = PrefetchEngine.open(options(model.file))) {
            assertThat(engine.plan().accelerated()).isTrue();
            assertThat(engine.plan().allResident()).isTrue();
            int[] decoded = model.exact == null ? Arrays.copyOf(model.tokens, DECODED) : model.tokens;
            Logits logits = new Logits(engine.logits(model.tokens, false), engine.logits(decoded, true));
            RESIDENT.put(model.name, logits);
            return logits;
        }
    }

    /**
     * The tolerance is that of the CPU backend, 1e-3 at least for F16, because activations are rounded to it. Decoding
     * computes in f32 throughout and must be ten times as close, where that is not closer than f32 itself.
     */
    @ParameterizedTest
    @MethodSource("modelsWithExactLogits")
    void staysWithinTheToleranceOfTheReference(Model model) throws Exception {
        ExactLogits exact = Objects.requireNonNull(model.exact);
        double tolerance = model.name.endsWith("-F16") ? Math.max(exact.tolerance(), 1e-3) : exact.tolerance();
        Logits logits = resident(model);
        double prefill = relativeRms(logits.prefill, exact.logits());
        double decode = relativeRms(logits.decode, exact.logits());
        report("%-28s prefill %.2e, decode %.2e, tolerance %.2e", model, prefill, decode, tolerance);
        assertThat(prefill).as("prefill of %s", model).isLessThanOrEqualTo(tolerance);
        assertThat(decode).as("decode of %s", model).isLessThanOrEqualTo(Math.max(tolerance / 10, 1e-5));
    }

    @ParameterizedTest
    @MethodSource("models")
    void streamedWeightsGiveTheBitsOfResidentOnes(Model model) throws Exception {
        Logits resident = resident(model);
        int vocabulary = resident.prefill.length / model.tokens.length;
        float[] decode = Arrays.copyOf(resident.decode, DECODED * vocabulary);
        int streaming = 0;
        for (int lookAhead : new int[] {0, 2}) {
            EngineOptions half = options(model.file);
            half = half.withMemory(
                    half.memory().withWeights(MemoryAmount.parse("60%")).withLookAheadBlocks(lookAhead));
            try (PrefetchEngine engine = PrefetchEngine.open(half)) {
                assertThat(engine.plan().allResident()).isFalse();
                assertThat(Arrays.equals(engine.logits(model.tokens, false), resident.prefill))
                        .as("prefill of %s, look-ahead %d", model, lookAhead)
                        .isTrue();
                assertThat(Arrays.equals(engine.logits(Arrays.copyOf(model.tokens, DECODED), true), decode))
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
    @MethodSource("modelsToCompareWithTheCpuBackend")
    void agreesWithTheCpuBackend(Model model) throws Exception {
        EngineOptions options = EngineOptions.of(model.file)
                .withThreads(2)
                .withMaxConcurrency(1)
                .withUbatch(16)
                .withBackend("cpu");
        try (PrefetchEngine engine = PrefetchEngine.open(options)) {
            assertThat(engine.plan().accelerated()).isFalse();
            double distance = relativeRms(resident(model).prefill, engine.logits(model.tokens, false));
            report("%-28s from the CPU backend %.2e", model, distance);
            // The CPU backend multiplies 8-bit activations, and is held to the same distance from the exact logits.
            double bound = model.exact == null ? AS_CPU : Math.max(AS_CPU, model.exact.tolerance());
            assertThat(distance).as("%s", model).isLessThanOrEqualTo(bound);
        }
    }

    /** What a run over every model has measured, for the record. */
    private static void report(String format, Object... values) {
        if (everyModel()) {
            LOG.log(System.Logger.Level.INFO, String.format(Locale.ROOT, format, values));
        }
    }

    private static double peerDistance(String text, String model) {
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
