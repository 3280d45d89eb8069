package dev.prefetch.cuda;

import dev.prefetch.api.AcceleratorOptions;
import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.prefetch.MemoryAmount;
import dev.prefetch.prefetch.PlanException;
import dev.prefetch.testing.ExactLogits;
import dev.prefetch.testing.RandomModel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Pattern;

/**
 * The logits of whole models on a card: against exact ones, against the CPU backend, and streamed against resident, bit by
 * bit.
 */
final class ModelChecks {

    /** How far the backends may be from each other where no exact logits say how far each may be from them. */
    private static final double AS_CPU = 0.01;

    private static final int DECODED = 5;

    /** A regular expression for the names of those of {@link GpuCheck.Size#EVERY}: several processes share them. */
    private static final String MODELS = System.getProperty("prefetch.check.models", ".*");

    private final CheckReport report;
    private final GpuCheck.Size size;

    ModelChecks(CheckReport report, GpuCheck.Size size) {
        this.report = report;
        this.size = size;
    }

    static EngineOptions options(Path model, String backend) {
        return EngineOptions.of(model)
                .withMaxConcurrency(1)
                .withBackend(backend)
                .withAccelerator(AcceleratorOptions.AUTO.withDecodeOnHost(false));
    }

    static int[] tokens(int count, int vocabulary) {
        int[] tokens = new int[count];
        Arrays.setAll(tokens, i -> (i * 7919 + 13) % vocabulary);
        return tokens;
    }

    /** Random models, written to a folder one after the other. */
    private List<String> names() {
        return switch (size) {
            case SMALL -> List.of("llama-IQ2_XS", "deepseek2-Q4_K_M");
            case USUAL ->
                RandomModel.names().stream().filter(ModelChecks::usual).toList();
            case EVERY ->
                RandomModel.names().stream()
                        .filter(ModelChecks::supported)
                        .filter(Pattern.compile(MODELS).asMatchPredicate())
                        .toList();
        };
    }

    /** Every architecture once, in the mixture that most models are published in, and each of the smallest formats once. */
    static boolean usual(String name) {
        return supported(name)
                && name.matches("(?!gpt-oss).*-Q4_K_M|gpt-oss-MXFP4|deepseek2-whole-Q8_0|llama-(IQ|TQ).*");
    }

    /** Whether a model does without linear attention, which has no kernels here. */
    static boolean supported(String name) {
        return !name.matches("qwen(3next|35).*");
    }

    void random(Path folder) throws Exception {
        for (String name : names()) {
            Path model = RandomModel.write(name, folder);
            try {
                ExactLogits exact = ExactLogits.of(name);
                // The CPU backend multiplies 8-bit activations, and is held to the same distance from the exact ones.
                float[][] logits = check(name, model, ExactLogits.tokens(), Math.max(AS_CPU, exact.tolerance()));
                // Activations are rounded to half precision for prefill; decoding computes in f32 throughout.
                double prefill = name.endsWith("-F16") ? Math.max(exact.tolerance(), 1e-3) : exact.tolerance();
                report.agree(name + ": prefill, exact", logits[0], exact.logits(), prefill);
                report.agree(name + ": decode, exact", logits[1], exact.logits(), Math.max(prefill / 10, 1e-5));
            } finally {
                Files.delete(model);
            }
        }
    }

    void file(Path model) throws Exception {
        int vocabulary;
        try (PrefetchEngine engine = PrefetchEngine.open(options(model, "cpu"))) {
            vocabulary = engine.info().vocabularySize();
        }
        check(model.getFileName().toString(), model, tokens(size == GpuCheck.Size.SMALL ? 8 : 40, vocabulary), AS_CPU);
    }

    /** Returns the logits of resident weights: prefill and decode. */
    private float[][] check(String name, Path model, int[] tokens, double asCpu) throws Exception {
        float[] cpu;
        try (PrefetchEngine engine = PrefetchEngine.open(options(model, "cpu"))) {
            cpu = engine.logits(tokens, false);
        }
        float[] prefill;
        float[] decode;
        try (PrefetchEngine engine = PrefetchEngine.open(options(model, "cuda"))) {
            report.check(
                    engine.plan().allResident(),
                    "%s: not resident: %s",
                    name,
                    engine.plan().summary());
            prefill = engine.logits(tokens, false);
            decode = engine.logits(tokens, true);
        }
        report.agree(name + ": the CPU backend", prefill, cpu, asCpu);
        float[] decoded = Arrays.copyOf(decode, decode.length / tokens.length * DECODED);
        int streamed = 0;
        for (int lookAhead : new int[] {0, 2}) {
            EngineOptions half = options(model, "cuda");
            half = half.withMemory(
                    half.memory().withWeights(MemoryAmount.parse("60%")).withLookAheadBlocks(lookAhead));
            try (PrefetchEngine engine = PrefetchEngine.open(half)) {
                boolean same = Arrays.equals(engine.logits(tokens, false), prefill)
                        && Arrays.equals(engine.logits(Arrays.copyOf(tokens, DECODED), true), decoded);
                report.check(same, "%s: streamed weights give other bits, look-ahead %d", name, lookAhead);
                report.check(engine.statistics().linkBytes() > 0, "%s: nothing was streamed", name);
                report.check(engine.statistics().failures() == 0, "%s: transfers failed", name);
                streamed++;
            } catch (PlanException e) {
                report.say("%s: no plan with look-ahead %d: %s", name, lookAhead, e.getMessage());
            }
        }
        report.check(streamed > 0, "%s: was never streamed", name);
        return new float[][] {prefill, decode};
    }
}
