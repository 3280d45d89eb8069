package dev.prefetch.sample.cli;

import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.GenerationRequest;
import dev.prefetch.api.GenerationResult;
import dev.prefetch.api.MemoryOptions;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.api.Prompt;
import dev.prefetch.api.ServingOptions;
import dev.prefetch.inference.SamplingOptions;
import dev.prefetch.inference.Speculation;
import dev.prefetch.prefetch.PrefetchStatistics;
import dev.prefetch.prefetch.Regime;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.ExitCode;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.SerializationFeature;
import tools.jackson.databind.json.JsonMapper;

/** {@code bench}: how fast a model runs here, and how well its transfers are hidden. */
@Command(
        name = "bench",
        description = "Measures prompt and generation speed: random prompt tokens in an empty context, then generation"
                + " after one token; medians of several runs after a warm-up. Several values of --look-ahead are"
                + " measured one after the other.")
final class BenchCommand implements Callable<Integer> {

    private static final long SEED = 7;

    private static final JsonMapper JSON =
            JsonMapper.builder().enable(SerializationFeature.INDENT_OUTPUT).build();

    private final CliContext context;

    @Option(names = "--model", paramLabel = "MODEL", required = true, description = ModelLocation.DESCRIPTION + ".")
    private ModelLocation model = new ModelLocation("");

    @Option(
            names = "--prompt",
            paramLabel = "N",
            defaultValue = "512",
            description = "Prompt tokens; 0 leaves the prompt out (default: ${DEFAULT-VALUE}).")
    private int promptTokens;

    @Option(
            names = "--generate",
            paramLabel = "N",
            defaultValue = "64",
            description = "Generated tokens; 0 leaves generation out (default: ${DEFAULT-VALUE}).")
    private int generateTokens;

    @Option(
            names = "--repeat",
            paramLabel = "N",
            defaultValue = "5",
            description = "Measured runs (default: ${DEFAULT-VALUE}).")
    private int repeat;

    @Option(
            names = "--minutes",
            paramLabel = "N",
            description = "Instead of --repeat: measured runs until so many minutes have passed.")
    private double minutes;

    @Option(
            names = "--warm-up",
            paramLabel = "N",
            defaultValue = "1",
            description = "Runs before, which are not counted (default: ${DEFAULT-VALUE}).")
    private int warmUp;

    @Option(
            names = "--streams",
            paramLabel = "N",
            split = ",",
            description =
                    "Instead, so many generations at the same time, each with a prompt of its own; several values are"
                            + " measured one after the other, each after a warm-up of its own.")
    private List<Integer> streams = List.of();

    @Option(
            names = "--speculation",
            paramLabel = "MODE",
            defaultValue = "OFF",
            description =
                    "Whether tokens are guessed: ${COMPLETION-CANDIDATES} (default: ${DEFAULT-VALUE}). Random tokens"
                            + " repeat themselves more than text does.")
    private Speculation speculation = Speculation.OFF;

    @Option(names = "--json", paramLabel = "FILE", description = "Also write the figures as JSON.")
    private @Nullable Path json;

    @Option(
            names = "--trace",
            paramLabel = "FILE",
            description = "Write the last sweeps as a Chrome trace, which Perfetto shows.")
    private @Nullable Path trace;

    @Option(
            names = "--trace-sweeps",
            paramLabel = "N",
            defaultValue = "16",
            description = "How many sweeps the trace holds (default: ${DEFAULT-VALUE}).")
    private int traceSweeps;

    @Mixin
    private final EngineMixin engineOptions = new EngineMixin();

    BenchCommand(CliContext context) {
        this.context = context;
    }

    @Override
    public Integer call() throws IOException, InterruptedException {
        List<Map<String, Object>> results = new ArrayList<>();
        for (int lookAhead : engineOptions.lookAheads()) {
            results.add(measure(lookAhead));
        }
        if (json != null) {
            Map<String, Object> report = new LinkedHashMap<>(results.getFirst());
            if (results.size() > 1) {
                report.put("results", results);
            }
            JSON.writeValue(json, report);
        }
        return ExitCode.OK;
    }

    private Map<String, Object> measure(int lookAhead) throws IOException, InterruptedException {
        PrintStream out = context.out();
        try (PrefetchEngine engine = context.engines().apply(options(lookAhead))) {
            String wanted = lookAhead == MemoryOptions.CHOOSE ? "auto" : Integer.toString(lookAhead);
            out.println("model    " + engine.info().modelName() + ", "
                    + engine.info().quantization() + ", " + (engine.info().fileBytes() >> 20) + " MiB");
            out.println("machine  " + engine.info().device());
            out.println("plan     look-ahead " + wanted + ": " + engine.plan().summary());
            if (!streams.isEmpty()) {
                return measureStreams(engine);
            }
            BenchFigures prefill = new BenchFigures(Regime.PREFILL, promptTokens);
            BenchFigures decode = new BenchFigures(Regime.DECODE, generateTokens);
            long end = System.nanoTime() + (long) (minutes * 60e9);
            for (int run = -warmUp; goesOn(run, end); run++) {
                boolean counts = run >= 0;
                if (promptTokens > 0) {
                    GenerationResult result = generate(engine, promptTokens, 1, prefill, counts);
                    if (counts) {
                        prefill.addSpeed(result.promptTokensPerSecond());
                    }
                }
                if (generateTokens > 0) {
                    GenerationResult result = generate(engine, 1, generateTokens + 1, decode, counts);
                    if (counts) {
                        decode.addSpeed(result.decodeTokensPerSecond());
                    }
                }
            }
            out.print(prefill.describe());
            out.print(decode.describe());
            if (trace != null) {
                Files.writeString(trace, engine.chromeTrace());
            }
            return report(engine, wanted, prefill, decode);
        }
    }

    /** One run is measured in any case. */
    private boolean goesOn(int run, long end) {
        return run <= 0 || (minutes > 0 ? System.nanoTime() < end : run < repeat);
    }

    private Map<String, Object> measureStreams(PrefetchEngine engine) throws InterruptedException {
        StreamBench bench = new StreamBench(engine, promptTokens, generateTokens);
        List<Map<String, Object>> figures = new ArrayList<>();
        Set<Integer> warm = new HashSet<>();
        for (int count : streams) {
            // Other numbers of rows have other kernels.
            for (int run = 0; run < warmUp && !warm.contains(count); run++) {
                bench.measure(count);
            }
            warm.add(count);
            StreamBench.Figures measured = bench.measure(count);
            context.out().print(measured.describe());
            figures.add(measured.report());
        }
        return new LinkedHashMap<>(Map.of("model", model.text(), "streams", figures));
    }

    private EngineOptions options(int lookAhead) {
        // Runs repeat the same prompt: from a cache it would cost nothing.
        EngineOptions options = engineOptions
                .options(context.modelFile(model), lookAhead)
                .withMaxConcurrency(
                        streams.stream().mapToInt(Integer::intValue).max().orElse(1))
                .withServing(ServingOptions.DEFAULT.withoutPromptCache().withSpeculation(speculation));
        if (options.contextLength() == 0 && !streams.isEmpty()) {
            options = options.withContextLength(promptTokens + generateTokens);
        } else if (options.contextLength() == 0) {
            options = options.withContextLength(Math.max(promptTokens, generateTokens) + 2);
        }
        return trace == null ? options : options.withMemory(options.memory().withTraceSweeps(traceSweeps));
    }

    /** One generation; the transfers of its sweeps of the figures' regime are added to the figures. */
    private static GenerationResult generate(
            PrefetchEngine engine, int prompt, int maxTokens, BenchFigures figures, boolean counts)
            throws InterruptedException {
        PrefetchStatistics before = engine.statistics(figures.regime());
        List<Integer> tokens = new SplittableRandom(SEED)
                .ints(prompt, 0, engine.tokenizer().vocabularySize())
                .boxed()
                .toList();
        GenerationResult result = engine.generate(
                new GenerationRequest(new Prompt.Tokens(tokens), SamplingOptions.GREEDY, maxTokens, List.of(), true));
        if (counts) {
            figures.addTransfers(engine.statistics(figures.regime()).since(before));
        }
        return result;
    }

    /** The figures by name; those of transfers are of decode, or of prefill where generation was left out. */
    private Map<String, Object> report(
            PrefetchEngine engine, String lookAhead, BenchFigures prefill, BenchFigures decode) {
        Map<String, Object> report = new LinkedHashMap<>();
        report.put("model", String.valueOf(engine.info().modelFile().getFileName()));
        report.put("modelBytes", engine.info().fileBytes());
        report.put("machine", engine.info().device());
        report.put("threads", engine.info().threads());
        report.put("lookAhead", lookAhead);
        report.put("prefillTokensPerSecond", prefill.tokensPerSecond());
        report.put("decodeTokensPerSecond", decode.tokensPerSecond());
        report.putAll((generateTokens > 0 ? decode : prefill).transfers());
        report.put("prefill", prefill.transfers());
        report.put("decode", decode.transfers());
        report.put("plan", JSON.readValue(engine.plan().toJson(), JsonNode.class));
        return report;
    }
}
