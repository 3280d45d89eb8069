package dev.prefetch.cuda;

import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.BackendProvider.Availability;
import dev.prefetch.backend.CopyStream;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Event;
import dev.prefetch.backend.ExpertChoice;
import dev.prefetch.backend.ExpertOps;
import dev.prefetch.backend.HostMemory;
import dev.prefetch.backend.Ops;
import dev.prefetch.backend.Rope;
import dev.prefetch.backend.Weight;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.prefetch.MemoryAmount;
import dev.prefetch.prefetch.PrefetchStatistics;
import dev.prefetch.prefetch.Regime;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.TreeSet;
import java.util.stream.Stream;

/**
 * Checks a real card: kernels against the scalar kernels of the CPU, whole models against the CPU backend, the bits of
 * streamed weights against those of resident ones; then measures. Everything is written to a folder: {@code report.txt},
 * {@code figures.csv} and the timeline of a streamed sweep, {@code timeline.json}.
 *
 * <pre>{@code GpuCheck OUT MODELS [small|usual|every [PART...]]}</pre>
 *
 * MODELS is a folder of GGUF files; the first also lends its tokenizer to the generated model of the figures. {@code small}
 * takes sizes that the simulated driver can run, {@code every} checks every architecture in every format. The parts are
 * {@code kernels}, {@code models}, {@code link}, {@code rates} and {@code streaming}; all of them run when none is named. Exit status 1 when
 * a check failed, 2 when there is no card to check.
 */
final class GpuCheck {

    /** How much is checked and measured. */
    enum Size {
        /** What the simulated driver can run. */
        SMALL,
        /** Every kernel, every architecture, and every format. */
        USUAL,
        /** Every architecture in every format. */
        EVERY
    }

    private static final List<String> PARTS = List.of("kernels", "models", "link", "rates", "streaming");

    private final Path out;
    private final Path models;
    private final Size size;
    /** Those to run; all when there are none. */
    private final Set<String> parts;

    private final boolean small;
    private final long seed;
    private final CheckReport report;

    private GpuCheck(Path out, Path models, Size size, Set<String> parts, CheckReport report) {
        this.out = out;
        this.models = models;
        this.size = size;
        this.parts = parts;
        this.report = report;
        small = size == Size.SMALL;
        seed = Long.getLong("prefetch.check.seed", System.nanoTime());
    }

    public static void main(String[] args) throws Exception {
        if (new CudaBackendProvider().availability()
                instanceof Availability.Unavailable(String reason, String remedy)) {
            System.err.println("Nothing was checked: " + reason + ". Remedy: " + remedy);
            System.exit(2);
        }
        Size size = args.length > 2 ? Size.valueOf(args[2].toUpperCase(Locale.ROOT)) : Size.USUAL;
        Set<String> parts = new TreeSet<>(Arrays.asList(args).subList(Math.min(3, args.length), args.length));
        if (!PARTS.containsAll(parts)) {
            System.err.println("The parts are " + String.join(", ", PARTS));
            System.exit(2);
        }
        System.exit(run(Path.of(args[0]), Path.of(args[1]), size, parts) == 0 ? 0 : 1);
    }

    /** Returns the number of checks that failed. */
    static int run(Path out, Path models, Size size, Set<String> parts) throws Exception {
        Files.createDirectories(out);
        try (CheckReport report = new CheckReport(out)) {
            new GpuCheck(out, models, size, parts, report).all();
            return report.failures();
        }
    }

    private interface Part {
        void run() throws Exception;
    }

    private void all() {
        report.say("seed %d", seed);
        part("kernels", this::kernels);
        part("models", this::wholeModels);
        part("link", this::link);
        part("rates", this::kernelRates);
        part("streaming", this::streaming);
        report.say("%d checks failed", report.failures());
    }

    /** A part that cannot be finished is a failure, and does not keep the others from running. */
    private void part(String name, Part part) {
        if (!parts.isEmpty() && !parts.contains(name)) {
            return;
        }
        report.say("== %s", name);
        long start = System.nanoTime();
        try {
            part.run();
        } catch (Exception | Error e) {
            report.failed(e);
        }
        report.say("(%.1f s)", (System.nanoTime() - start) / 1e9);
    }

    // correctness

    private void kernels() {
        SplittableRandom random = new SplittableRandom(seed);
        int rows = small ? 33 : 130;
        // More than the narrow tile takes; a row alone is multiplied by that.
        int prefill = small ? 70 : 140;
        try (Device cuda = Devices.cuda();
                Device cpu = Devices.reference()) {
            report.say("%s", cuda.description());
            for (GgmlType type : WeightFormat.TYPES) {
                int cols = small ? 256 : 4096;
                byte[] blocks = Devices.randomBlocks(random, type, (long) rows * cols);
                float[] x = Devices.randomFloats(random, prefill * cols);
                for (boolean decode : new boolean[] {true, false}) {
                    int tokens = decode ? 5 : prefill;
                    int decoded = decode ? tokens : 0;
                    float[] expected = multiply(cpu, type, blocks, x, rows, cols, decoded, tokens);
                    float[] actual = multiply(cuda, type, blocks, x, rows, cols, decoded, tokens);
                    String name = (decode ? "decode " : "prefill ") + type;
                    report.agree(name, actual, expected, decode || type == GgmlType.F32 ? 2e-6 : 1e-3);
                    float[] alone = multiply(
                            cuda, type, blocks, Arrays.copyOfRange(x, cols, 2 * cols), rows, cols, decode ? 1 : 0, 1);
                    report.check(
                            Arrays.equals(alone, Arrays.copyOfRange(actual, rows, 2 * rows)),
                            "%s: a row has other bits in a batch of %d",
                            name,
                            tokens);
                }
            }
            elementwise(cuda, cpu, random);
            attention(cuda, cpu, random);
            choiceOfExperts(cuda, random);
            pickedWeights(cuda, random);
        }
    }

    private void choiceOfExperts(Device cuda, SplittableRandom random) {
        ExpertOps experts = Objects.requireNonNull(cuda.compute().ops().experts());
        int rows = small ? 3 : 300;
        for (ExpertChoice how : List.of(
                new ExpertChoice(128, 8, false, true, 1, 1, 1), new ExpertChoice(256, 8, true, true, 2.5f, 8, 4))) {
            int used = how.used();
            float[] scores = Devices.randomFloats(random, rows * how.experts());
            int[] picks = new int[2 * rows * used];
            try (DeviceBuffer in = Devices.buffer(cuda, scores);
                    DeviceBuffer out = Devices.poisoned(cuda, picks.length)) {
                experts.choose(how, in, null, rows, out);
                out.download(0, MemorySegment.ofArray(picks));
            }
            float[] actual = new float[rows * used];
            float[] expected = new float[rows * used];
            boolean same = true;
            for (int i = 0; i < rows * used; i++) {
                int row = i / used;
                ExpertReference.Pick pick = ExpertReference.choose(
                                how, Arrays.copyOfRange(scores, row * how.experts(), (row + 1) * how.experts()), null)
                        .get(i % used);
                same &= picks[i] == pick.expert();
                actual[i] = Float.intBitsToFloat(picks[rows * used + i]);
                expected[i] = (float) pick.weight();
            }
            report.check(same, "others than the %d best of %d experts", used, how.experts());
            report.agree("weights of " + used + " of " + how.experts() + " experts", actual, expected, 1e-6);
        }
    }

    /** Weights that the device picks against the decode kernels, bit by bit. */
    private void pickedWeights(Device cuda, SplittableRandom random) {
        ExpertOps experts = Objects.requireNonNull(cuda.compute().ops().experts());
        int rows = small ? 33 : 768;
        int cols = small ? 256 : 2048;
        int[] chosen = {2, 0, 1, 2};
        for (GgmlType type : WeightFormat.TYPES) {
            List<Weight> weights = new ArrayList<>();
            for (int i = 0; i < 3; i++) {
                byte[] blocks = Devices.randomBlocks(random, type, (long) rows * cols);
                weights.add(Devices.weight(cuda, type, rows, cols, blocks));
            }
            float[] x = Devices.randomFloats(random, cols);
            try (DeviceBuffer in = Devices.buffer(cuda, x);
                    DeviceBuffer picks = cuda.allocate(4L * chosen.length, "check");
                    DeviceBuffer addresses = cuda.allocate(64, "check");
                    DeviceBuffer all = Devices.poisoned(cuda, chosen.length * rows);
                    DeviceBuffer one = Devices.poisoned(cuda, rows)) {
                picks.upload(MemorySegment.ofArray(chosen), 0);
                experts.matmul(experts.tabulate(weights, addresses, 0), picks, in, chosen.length, chosen.length, all);
                float[] actual = Devices.read(all, chosen.length * rows);
                for (int i = 0; i < chosen.length; i++) {
                    cuda.compute().ops().matmul(weights.get(chosen[i]), in, 1, 1, one);
                    report.check(
                            Arrays.equals(
                                    Devices.read(one, rows), Arrays.copyOfRange(actual, i * rows, (i + 1) * rows)),
                            "picked %s: other bits than the decode kernels",
                            type);
                }
            } finally {
                weights.forEach(weight -> weight.buffer().close());
            }
        }
        report.say("%-34s %s", "picked weights", "compared with the decode kernels");
    }

    /** Changes or fills x. */
    private interface Operation {
        void run(Device device, Ops ops, DeviceBuffer x, DeviceBuffer y);
    }

    private void elementwise(Device cuda, Device cpu, SplittableRandom random) {
        int n = small ? 1000 : 1 << 20;
        float[] x = Devices.randomFloats(random, n);
        float[] y = Devices.randomFloats(random, n);
        compare(cuda, cpu, "swiGlu", x, y, (d, ops, a, b) -> ops.swiGlu(a, b, n));
        compare(cuda, cpu, "geGlu", x, y, (d, ops, a, b) -> ops.geGlu(a, b, n));
        compare(cuda, cpu, "clampedSwiGlu", x, y, (d, ops, a, b) -> ops.clampedSwiGlu(a, b, 1.7f, 7, n));
        compare(cuda, cpu, "scale", x, y, (d, ops, a, b) -> ops.scale(a, 1.3f, n));
        compare(cuda, cpu, "softCap", x, y, (d, ops, a, b) -> ops.softCap(a, 30, n));
        compare(cuda, cpu, "add", x, y, (d, ops, a, b) -> ops.add(a, b, n));
        rows(cuda, cpu, random, x, y);
        topK(cuda, cpu, x);
        rotation(cuda, cpu, random);
        for (GgmlType type : WeightFormat.TYPES) {
            embed(cuda, cpu, random, type);
        }
    }

    private void rows(Device cuda, Device cpu, SplittableRandom random, float[] x, float[] y) {
        int dim = small ? 96 : 100_000;
        float[] unwritten = unwritten(10 * dim);
        byte[] vector = Devices.randomBlocks(random, GgmlType.F32, dim);
        compare(cuda, cpu, "rmsNorm", unwritten, y, (d, ops, a, b) -> ops.rmsNorm(b, 10, dim, null, 1e-5f, a));
        compare(cuda, cpu, "rmsNorm with gain", unwritten, y, (d, ops, a, b) -> {
            Weight gain = Devices.weight(d, GgmlType.F32, 1, dim, vector);
            ops.rmsNorm(b, 10, dim, gain, 1e-5f, a);
            gain.buffer().close();
        });
        compare(cuda, cpu, "addBias", x, y, (d, ops, a, b) -> {
            Weight bias = Devices.weight(d, GgmlType.F32, 1, dim, vector);
            ops.addBias(a, 10, bias);
            bias.buffer().close();
        });
        int[] rows = {3, 1, 3, 9};
        float[] factors = {1, 0.5f, 2, -1};
        compare(cuda, cpu, "scatterAddRows", x, y, (d, ops, a, b) -> ops.scatterAddRows(b, rows, factors, 4, dim, a));
        compare(cuda, cpu, "copyColumns", x, y, (d, ops, a, b) -> ops.copyColumns(b, 3, dim, a, 5, dim, dim - 9, 9));
        compare(cuda, cpu, "gatherRows", unwritten(4 * dim), y, (d, ops, a, b) -> ops.gatherRows(b, rows, 4, dim, a));
    }

    private void topK(Device cuda, Device cpu, float[] x) {
        int stride = x.length / 4;
        int n = stride - 7;
        int k = 40;
        float[][] found = new float[4][];
        for (Device device : List.of(cuda, cpu)) {
            try (DeviceBuffer in = Devices.buffer(device, x);
                    DeviceBuffer values = Devices.poisoned(device, 4 * k);
                    DeviceBuffer indices = Devices.poisoned(device, 4 * k)) {
                device.compute().ops().topK(in, 4, stride, n, k, values, indices);
                int at = device == cuda ? 0 : 2;
                found[at] = Devices.read(values, 4 * k);
                found[at + 1] = Devices.read(indices, 4 * k);
            }
        }
        // The bits of indices are those of tiny floats.
        boolean same = Arrays.equals(found[0], found[2]) && Arrays.equals(found[1], found[3]);
        report.say("%-34s %s", "topK", same ? "the same" : "others");
        report.check(same, "topK: others than the CPU backend finds");
    }

    private void rotation(Device cuda, Device cpu, SplittableRandom random) {
        int heads = small ? 3 : 32;
        int headDim = 128;
        int[] positions = random.ints(small ? 5 : 300, 0, 1 << 17).toArray();
        float[] frequencies = new float[headDim / 2 - 16];
        for (int i = 0; i < frequencies.length; i++) {
            frequencies[i] = (float) Math.pow(10_000, -i / (double) frequencies.length);
        }
        float[] x = Devices.randomFloats(random, positions.length * heads * headDim);
        for (Rope.Layout layout : Rope.Layout.values()) {
            Rope rope = new Rope(layout, frequencies, 1.1f);
            compare(cuda, cpu, "rope " + layout, x, new float[1], (d, ops, a, b) -> {
                ops.rope(a, positions.length, heads, headDim, rope, positions);
            });
        }
    }

    private void embed(Device cuda, Device cpu, SplittableRandom random, GgmlType type) {
        int rows = 50;
        int cols = small ? 512 : 4096;
        byte[] blocks = Devices.randomBlocks(random, type, (long) rows * cols);
        int[] tokens = random.ints(small ? 4 : 200, 0, rows).toArray();
        compare(cuda, cpu, "embed " + type, unwritten(tokens.length * cols), new float[1], (d, ops, a, b) -> {
            Weight table = Devices.weight(d, type, rows, cols, blocks);
            ops.embed(table, tokens, tokens.length, a);
            table.buffer().close();
        });
    }

    private void attention(Device cuda, Device cpu, SplittableRandom random) {
        // Long enough for parts that are merged, and once for few rows and once for many.
        int positions = small ? 300 : 2500;
        List<AttentionShape> shapes = small
                ? List.of(new AttentionShape(4, 2, 32, 32, 0.2f, 0, 0), new AttentionShape(3, 3, 8, 10, 0.35f, 20, 33))
                : List.of(
                        new AttentionShape(32, 8, 128, 128, 0.088f, 0, 0),
                        new AttentionShape(8, 1, 256, 256, 0.0625f, 50, 0),
                        new AttentionShape(64, 8, 64, 64, 0.125f, 0, 128),
                        new AttentionShape(6, 3, 80, 130, 0.11f, 20, 33));
        for (AttentionShape shape : shapes) {
            for (boolean sinks : new boolean[] {false, true}) {
                attention(cuda, cpu, CachedAttention.random(random, shape, 64, positions, sinks));
            }
            CachedAttention kept = CachedAttention.random(random, shape, 64, positions, false);
            attention(cuda, cpu, kept.withType(GgmlType.F16));
            if (shape.keyDim() % 32 == 0 && shape.valueDim() % 32 == 0) {
                attention(cuda, cpu, kept.withType(GgmlType.Q8_0));
            }
        }
    }

    private void attention(Device cuda, Device cpu, CachedAttention attention) {
        AttentionShape shape = attention.shape();
        int positions = attention.positions();
        int[] starts = {0, positions - 9, positions - 1};
        String name = "attention %s %d/%d x %d%s%s"
                .formatted(
                        attention.type(),
                        shape.heads(),
                        shape.kvHeads(),
                        shape.keyDim(),
                        shape.window() > 0 ? ", window" : "",
                        attention.sinks().length > 0 ? ", sinks" : "");
        float[] actual = attention.run(cuda, starts);
        report.agree(name, actual, attention.run(cpu, starts), 1e-5);
        report.check(
                Arrays.equals(actual, attention.run(cuda, 0, positions / 2)),
                "%s: other bits when the prompt is cut elsewhere",
                name);
    }

    private void compare(Device cuda, Device cpu, String name, float[] x, float[] y, Operation operation) {
        report.agree(name, run(cuda, x, y, operation), run(cpu, x, y, operation), 2e-6);
    }

    private static float[] unwritten(int n) {
        float[] values = new float[n];
        Arrays.fill(values, Float.NaN);
        return values;
    }

    private static float[] run(Device device, float[] x, float[] y, Operation operation) {
        try (DeviceBuffer a = Devices.buffer(device, x);
                DeviceBuffer b = Devices.buffer(device, y)) {
            operation.run(device, device.compute().ops(), a, b);
            return Devices.read(a, x.length);
        }
    }

    private static float[] multiply(
            Device device, GgmlType type, byte[] blocks, float[] x, int rows, int cols, int decodeRows, int count) {
        Weight w = Devices.weight(device, type, rows, cols, blocks);
        try (DeviceBuffer in = Devices.buffer(device, x);
                DeviceBuffer y = Devices.poisoned(device, count * rows)) {
            device.compute().ops().matmul(w, in, decodeRows, count, y);
            return Devices.read(y, count * rows);
        } finally {
            w.buffer().close();
        }
    }

    private List<Path> modelFiles() {
        try (Stream<Path> files = Files.list(models)) {
            return files.filter(file -> file.toString().endsWith(".gguf"))
                    .sorted()
                    .toList();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private void wholeModels() throws Exception {
        ModelChecks checks = new ModelChecks(report, size);
        checks.random(out);
        for (Path model : modelFiles()) {
            checks.file(model);
        }
    }

    // figures

    private void link() {
        long largest = small ? 1 << 20 : 256 << 20;
        try (Device device = Devices.cuda();
                CopyStream copies = device.openCopyStream();
                DeviceBuffer target = device.allocate(largest, "the link");
                HostMemory locked = device.allocateHost(largest, "the link");
                Arena arena = Arena.ofShared()) {
            MemorySegment pageable = arena.allocate(largest, 4096);
            pageable.fill((byte) 1);
            locked.memory().fill((byte) 1);
            for (long chunk = 256 << 10; chunk <= largest; chunk *= 4) {
                report.figure(
                        "link page-locked",
                        (chunk >> 10) + " KiB",
                        copyRate(copies, locked.memory(), target, chunk),
                        "GB/s");
                report.figure(
                        "link pageable", (chunk >> 10) + " KiB", copyRate(copies, pageable, target, chunk), "GB/s");
            }
        }
    }

    private static double copyRate(CopyStream copies, MemorySegment source, DeviceBuffer target, long chunk) {
        double best = 0;
        for (int round = 0; round < 3; round++) {
            Event begin = copies.recordTimed();
            for (long at = 0; at + chunk <= source.byteSize(); at += chunk) {
                copies.copy(source.asSlice(at, chunk), target, at);
            }
            Event end = copies.recordTimed();
            end.await();
            long bytes = source.byteSize() / chunk * chunk;
            best = Math.max(best, bytes / (double) Math.max(1, end.timeNanos() - begin.timeNanos()));
        }
        return best;
    }

    private void kernelRates() {
        int cols = small ? 256 : 8192;
        int rows = small ? 64 : 65536;
        int tokens = small ? 16 : 512;
        SplittableRandom random = new SplittableRandom(seed);
        try (Device device = Devices.cuda();
                DeviceBuffer x = device.allocate(4L * cols * tokens, "x");
                DeviceBuffer y = device.allocate(4L * rows * tokens, "y")) {
            long n = y.byteSize() / 8;
            double memory = 0;
            try (DeviceBuffer other = device.allocate(4 * n, "memory")) {
                memory = 12.0 * n / time(device, () -> device.compute().ops().add(other, y, n));
            }
            report.figure("device memory", "add, read and written", memory, "GB/s");
            for (GgmlType type : WeightFormat.TYPES) {
                byte[] some = Devices.randomBlocks(random, type, (long) 64 * cols);
                try (DeviceBuffer weights = device.allocate(rows * type.byteSize(cols), "weights")) {
                    for (long at = 0; at < weights.byteSize(); at += some.length) {
                        weights.upload(MemorySegment.ofArray(some), at);
                    }
                    Weight w = new Weight(type, rows, cols, weights, 0);
                    for (int batch : new int[] {1, 4}) {
                        double nanos = time(device, () -> device.compute().ops().matmul(w, x, batch, batch, y));
                        double rate = weights.byteSize() / nanos;
                        report.figure("decode of " + batch, type.name(), rate, "GB/s");
                        report.figure("decode of " + batch + ", part of memory", type.name(), 100 * rate / memory, "%");
                    }
                    double nanos = time(device, () -> device.compute().ops().matmul(w, x, 0, tokens, y));
                    report.figure(
                            "prefill of " + tokens, type.name(), 2.0 * rows * cols * tokens / nanos / 1e3, "TFLOP/s");
                    if (type == GgmlType.Q4_K && !small) {
                        smallPrefills(device, new Weight(type, 4096, cols, weights, 0), x, y);
                    }
                }
            }
        }
    }

    /** A matrix of the size that models have, which fills a large card only with many tokens. */
    private void smallPrefills(Device device, Weight w, DeviceBuffer x, DeviceBuffer y) {
        for (int tokens : new int[] {8, 32, 64, 128, 256, 512}) {
            double nanos = time(device, () -> device.compute().ops().matmul(w, x, 0, tokens, y));
            double rate = 2.0 * w.rows() * w.cols() * tokens / nanos / 1e3;
            report.figure("prefill of " + tokens, w.rows() + " rows of " + w.type(), rate, "TFLOP/s");
        }
    }

    /** Nanoseconds on the device, the best of several. */
    private double time(Device device, Runnable work) {
        work.run();
        long best = Long.MAX_VALUE;
        for (int round = 0; round < (small ? 1 : 5); round++) {
            Event begin = device.compute().recordTimed();
            work.run();
            Event end = device.compute().recordTimed();
            end.await();
            best = Math.min(best, Math.max(1, end.timeNanos() - begin.timeNanos()));
        }
        return best;
    }

    private void streaming() throws Exception {
        GeneratedModel shape = small
                ? new GeneratedModel(3, 256, 512, 4, 2, GgmlType.Q8_0)
                : new GeneratedModel(24, 4096, 11264, 32, 8, GgmlType.Q4_K);
        Path model = shape.write(modelFiles().getFirst(), out.resolve("generated.gguf"));
        try {
            report.say("generated model: %d MiB", Files.size(model) >> 20);
            EngineOptions resident = ModelChecks.options(model, "cuda").withUbatch(small ? 32 : 2048);
            EngineOptions streamed = resident.withMemory(resident.memory()
                    .withWeights(MemoryAmount.parse(small ? "70%" : "10%"))
                    .withTraceSweeps(4));
            Map<String, EngineOptions> kinds = new LinkedHashMap<>();
            kinds.put("resident", resident);
            kinds.put("in turn", streamed.withMemory(streamed.memory().withLookAheadBlocks(0)));
            kinds.put("streamed", streamed);
            Map<String, float[]> bits = new HashMap<>();
            for (Map.Entry<String, EngineOptions> kind : kinds.entrySet()) {
                try (PrefetchEngine engine = PrefetchEngine.open(kind.getValue())) {
                    report.say("%s: %s", kind.getKey(), engine.plan().summary());
                    for (int prompt : small ? new int[] {16} : new int[] {64, 128, 256, 512, 1024, 2048}) {
                        measured(engine, kind.getKey(), Regime.PREFILL, prompt, bits);
                    }
                    measured(engine, kind.getKey(), Regime.DECODE, small ? 4 : 32, bits);
                    if (kind.getValue() == streamed) {
                        Files.writeString(out.resolve("timeline.json"), engine.chromeTrace());
                    }
                }
            }
        } finally {
            Files.delete(model);
        }
    }

    /**
     * The median of five runs of as many tokens, once the JVM and the card are warm. The bits must be those of the first kind
     * that is measured.
     */
    private void measured(PrefetchEngine engine, String name, Regime regime, int count, Map<String, float[]> bits)
            throws InterruptedException {
        int[] tokens = ModelChecks.tokens(count, engine.info().vocabularySize());
        boolean stepByStep = regime == Regime.DECODE;
        float[] logits;
        long start = System.nanoTime();
        do {
            logits = engine.logits(tokens, stepByStep);
        } while (!small && System.nanoTime() - start < 1_000_000_000L);
        List<PrefetchStatistics> runs = new ArrayList<>();
        for (int run = 0; run < (small ? 1 : 5); run++) {
            PrefetchStatistics before = engine.statistics(regime);
            engine.logits(tokens, stepByStep);
            runs.add(engine.statistics(regime).since(before));
        }
        runs.sort(Comparator.comparingLong(PrefetchStatistics::sweepNanos));
        PrefetchStatistics spent = runs.get(runs.size() / 2);
        String what = name + " " + regime.name().toLowerCase(Locale.ROOT) + " of " + count;
        report.figure("tokens per second", what, count / (spent.sweepNanos() / 1e9), "1/s");
        report.figure("stall", what, 100.0 * spent.stallNanos() / Math.max(1, spent.sweepNanos()), "%");
        if (spent.linkBytes() > 0) {
            report.figure("link", what, spent.linkBytes() / (double) Math.max(1, spent.linkBusyNanos()), "GB/s");
            double bound = Math.max(spent.computeNanos(), spent.linkBusyNanos());
            report.figure("max(compute, transfer) of time", what, 100 * bound / Math.max(1, spent.sweepNanos()), "%");
            double hidden = spent.computeNanos() + spent.linkBusyNanos() - spent.sweepNanos();
            double shorter = Math.min(spent.computeNanos(), spent.linkBusyNanos());
            report.figure("overlap efficiency", what, 100 * hidden / Math.max(1, shorter), "%");
        }
        float[] first = bits.putIfAbsent(regime + " of " + count, logits);
        report.check(first == null || Arrays.equals(first, logits), "%s: other bits than resident weights give", what);
    }
}
