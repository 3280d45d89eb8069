package dev.prefetch.backend.cpu;

import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.UnaryOperator;
import java.util.stream.Collectors;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.CommandLineOptionException;
import org.openjdk.jmh.runner.options.CommandLineOptions;
import org.openjdk.jmh.runner.options.OptionsBuilder;

/**
 * Runs {@link KernelBenchmarks} and prints one table: the rates of each kernel, and their share of what the probes reach
 * in the same run with as many threads. Takes JMH's options; without a pattern everything runs. A pattern selects
 * kernels; the probes run all the same.
 */
final class KernelTable {

    private static final List<String> PROBES = List.of("MemoryRead", "FusedMultiplyAdd");

    private KernelTable() {}

    public static void main(String[] arguments) throws CommandLineOptionException, RunnerException {
        CommandLineOptions given = new CommandLineOptions(arguments);
        var options = new OptionsBuilder().parent(given);
        String prefix = KernelBenchmarks.class.getSimpleName() + "\\.";
        if (given.getIncludes().isEmpty()) {
            options.include(prefix);
        } else {
            PROBES.forEach(probe -> options.include(prefix + probe));
        }
        print(new Runner(options.build()).run());
    }

    private static void print(Collection<RunResult> results) {
        Map<String, Double> readRates = new TreeMap<>();
        Map<String, Double> fmaRates = new TreeMap<>();
        for (RunResult result : results) {
            UnaryOperator<String> parameter = result.getParams()::getParam;
            switch (name(result)) {
                case "MemoryRead" -> readRates.put(parameter.apply("threads"), rate(result, true));
                case "FusedMultiplyAdd" -> fmaRates.put(parameter.apply("threads"), rate(result, false));
                default -> {
                    // A kernel.
                }
            }
        }
        System.out.println();
        System.out.println("| kernel | parameters | threads | us | GB/s | of reading | GFLOP/s | of FMA peak |");
        System.out.println("|---|---|---|---|---|---|---|---|");
        for (RunResult result : results) {
            String threads = result.getParams().getParam("threads");
            System.out.printf(
                    Locale.ROOT,
                    "| %s | %s | %s | %.1f ± %.1f | %s | %s |%n",
                    name(result),
                    parameters(result),
                    threads,
                    result.getPrimaryResult().getScore() / 1e3,
                    result.getPrimaryResult().getScoreError() / 1e3,
                    share(rate(result, true), readRates.get(threads)),
                    share(rate(result, false), fmaRates.get(threads)));
        }
    }

    private static String share(double rate, double most) {
        return rate == 0 ? "| " : String.format(Locale.ROOT, "%.1f | %.0f %%", rate, 100 * rate / most);
    }

    /** Giga-units per second: the average time is in nanoseconds. */
    private static double rate(RunResult result, boolean bytes) {
        UnaryOperator<String> parameter = result.getParams()::getParam;
        double work = bytes
                ? KernelBenchmarks.bytes(name(result), parameter)
                : KernelBenchmarks.flops(name(result), parameter);
        return work / result.getPrimaryResult().getScore();
    }

    private static String name(RunResult result) {
        String benchmark = result.getParams().getBenchmark();
        String type = benchmark.substring(0, benchmark.lastIndexOf('.'));
        return type.substring(Math.max(type.lastIndexOf('.'), type.lastIndexOf('$')) + 1);
    }

    private static String parameters(RunResult result) {
        return result.getParams().getParamsKeys().stream()
                .filter(key -> !key.equals("threads") && !key.equals("megabytes"))
                .map(key -> result.getParams().getParam(key)
                        + (key.equals("rows") || key.equals("positions") ? " " + key : ""))
                .collect(Collectors.joining(", "));
    }
}
