package dev.prefetch.cuda;

import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;

/** What {@link GpuCheck} has found: {@code report.txt}, which it also prints, and {@code figures.csv}. */
final class CheckReport implements AutoCloseable {

    private final PrintStream report;
    private final PrintStream figures;
    private int failures;

    CheckReport(Path folder) throws IOException {
        report = new PrintStream(Files.newOutputStream(folder.resolve("report.txt")), true, StandardCharsets.UTF_8);
        figures = new PrintStream(Files.newOutputStream(folder.resolve("figures.csv")), true, StandardCharsets.UTF_8);
        figures.println("figure,subject,value,unit");
    }

    int failures() {
        return failures;
    }

    void say(String format, Object... arguments) {
        String line = String.format(Locale.ROOT, format, arguments);
        report.println(line);
        System.out.println(line);
    }

    void figure(String name, String subject, double value, String unit) {
        figures.printf(Locale.ROOT, "%s,%s,%.4g,%s%n", name, subject, value, unit);
        say("%-34s %-34s %12.4g %s", name, subject, value, unit);
    }

    void check(boolean holds, String format, Object... arguments) {
        if (!holds) {
            failures++;
            say("FAILED: " + format, arguments);
        }
    }

    /** A part that could not be finished. */
    void failed(Throwable cause) {
        failures++;
        say("FAILED: %s", cause);
        cause.printStackTrace(report);
    }

    /** Holds two results to a relative distance, and a NaN to none. */
    void agree(String name, float[] actual, float[] expected, double bound) {
        double error = relativeRms(actual, expected);
        say("%-60s relative error %.2e", name, error);
        check(error <= bound, "%s: relative error %.3e, allowed %.0e", name, error, bound);
    }

    /** NaN when any value is: no comparison with it holds. */
    private static double relativeRms(float[] actual, float[] expected) {
        if (actual.length != expected.length) {
            return Double.NaN;
        }
        double error = 0;
        double size = 0;
        for (int i = 0; i < expected.length; i++) {
            error += Math.pow((double) actual[i] - expected[i], 2);
            size += Math.pow(expected[i], 2);
        }
        return Math.sqrt(error / size);
    }

    @Override
    public void close() {
        report.close();
        figures.close();
    }
}
