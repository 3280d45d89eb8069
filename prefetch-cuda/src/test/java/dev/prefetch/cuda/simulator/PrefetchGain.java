package dev.prefetch.cuda.simulator;

import static dev.prefetch.cuda.simulator.Raw.check;
import static jcuda.driver.JCudaDriver.cuEventElapsedTime;
import static jcuda.driver.JCudaDriver.cuEventRecord;
import static jcuda.driver.JCudaDriver.cuMemcpyHtoDAsync;
import static jcuda.driver.JCudaDriver.cuMemsetD32;
import static jcuda.driver.JCudaDriver.cuStreamSynchronize;
import static jcuda.driver.JCudaDriver.cuStreamWaitEvent;

import dev.prefetch.cuda.simulator.Raw.Device;
import dev.prefetch.cuda.simulator.Raw.Locked;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import jcuda.driver.CUevent;
import jcuda.driver.CUstream;

/**
 * What prefetching gains over copying and computing in turn, from the virtual clock of the simulated driver: a sweep of a
 * dense 8B model of which every layer streams, by link and by the number of tokens in a sweep.
 *
 * <p>Every copy, kernel, event and wait is a call of the driver, with its cost; only the kernels' times are given. To keep
 * the program small a block has a thousandth of its bytes and the link a thousandth of its bandwidth.
 *
 * <p>{@link #main} writes {@code docs/prefetch-gain.md}'s tables and {@code docs/images/prefetch-gain.svg}.
 */
final class PrefetchGain {

    /** A link as page-locked copies see it, in GB/s. */
    enum Link {
        PCIE3_X8("PCIe 3.0 x8", 6.2),
        PCIE3_X16("PCIe 3.0 x16", 12.3),
        PCIE4_X8("PCIe 4.0 x8", 12.5),
        PCIE4_X16("PCIe 4.0 x16", 25),
        PCIE5_X8("PCIe 5.0 x8", 26),
        PCIE5_X16("PCIe 5.0 x16", 52);

        final String title;
        final double gigabytesPerSecond;

        Link(String title, double gigabytesPerSecond) {
            this.title = title;
            this.gigabytesPerSecond = gigabytesPerSecond;
        }
    }

    static final int[] TOKENS = {1, 32, 128, 256, 512, 1024, 2048, 4096};

    private static final int LAYERS = 32;
    // Llama 3 8B: 4096 wide, 32 heads over 8, networks of 14336; 4.85 bits a weight.
    private static final double ATTENTION_WEIGHTS = 2.0 * 4096 * 4096 + 2.0 * 4096 * 1024;
    private static final double NETWORK_WEIGHTS = 3.0 * 4096 * 14336;
    private static final double BYTES_PER_WEIGHT = 4.85 / 8;
    // What a GPU such as an RTX 3090 gets of its peaks on quantised weights.
    private static final double FLOPS = 60e12;
    private static final double MEMORY_BYTES_PER_SECOND = 0.8 * 936e9;
    private static final double SCALE = 1000;

    private static final Duration COPY_LATENCY = Duration.ofNanos(2000);
    private static final Duration LAUNCH = Duration.ofNanos(2500);
    private static final Duration CALL = Duration.ofNanos(1000);

    private static final String BEGIN = "<!-- made by PrefetchGain: begin -->";
    private static final String END = "<!-- made by PrefetchGain: end -->";

    /** How a layer is cut into blocks. */
    enum Blocks {
        /** A layer is one block. */
        LAYERS,
        /** A layer's attention and its network, four times as large, are blocks of their own. */
        PARTS
    }

    /** The cost of a sweep over one kind of block. */
    private record Block(double weights, String kernel) {

        long bytes() {
            return Math.round(weights * BYTES_PER_WEIGHT / SCALE / 128) * 128;
        }

        double computeSeconds(int tokens) {
            return Math.max(2 * weights * tokens / FLOPS, weights * BYTES_PER_WEIGHT / MEMORY_BYTES_PER_SECOND);
        }

        double transferSeconds(Link link) {
            return bytes() * SCALE / (link.gigabytesPerSecond * 1e9);
        }
    }

    private PrefetchGain() {}

    private static List<Block> sweep(Blocks blocks) {
        List<Block> sweep = new ArrayList<>();
        for (int layer = 0; layer < LAYERS; layer++) {
            if (blocks == Blocks.LAYERS) {
                sweep.add(new Block(ATTENTION_WEIGHTS + NETWORK_WEIGHTS, "negate"));
            } else {
                sweep.add(new Block(ATTENTION_WEIGHTS, "negate"));
                sweep.add(new Block(NETWORK_WEIGHTS, "to_half_and_back"));
            }
        }
        return sweep;
    }

    /** Seconds to compute a sweep when every block is resident: C. */
    static double computeSeconds(int tokens) {
        return sweep(Blocks.LAYERS).stream()
                .mapToDouble(block -> block.computeSeconds(tokens))
                .sum();
    }

    /** Seconds to move the blocks of a sweep: T. */
    static double transferSeconds(Link link) {
        return sweep(Blocks.LAYERS).stream()
                .mapToDouble(block -> block.transferSeconds(link))
                .sum();
    }

    /** The bound: (C + T) / max(C, T). */
    static double bound(Link link, int tokens) {
        double c = computeSeconds(tokens);
        double t = transferSeconds(link);
        return (c + t) / Math.max(c, t);
    }

    /** How many times as fast as in turn a sweep is with prefetching, on the virtual clock. */
    static double gain(Blocks blocks, int slots, Link link, int tokens) {
        return sweepNanos(blocks, 1, false, link, tokens) / sweepNanos(blocks, slots, true, link, tokens);
    }

    private record Run(Blocks blocks, int slots, boolean prefetch, Link link, int tokens) {}

    private static final Map<Run, Double> MEASURED = new HashMap<>();

    private static double sweepNanos(Blocks blocks, int slots, boolean prefetch, Link link, int tokens) {
        Run run = new Run(blocks, slots, prefetch, link, tokens);
        Double known = MEASURED.get(run);
        if (known == null) {
            known = measure(blocks, slots, prefetch, link, tokens);
            MEASURED.put(run, known);
        }
        return known;
    }

    /** The time of the second of two sweeps: the first finds the slots empty. */
    private static double measure(Blocks blocks, int slots, boolean prefetch, Link link, int tokens) {
        List<Block> sweep = sweep(blocks);
        Settings settings = Settings.defaults()
                .kernels(Path.of("src/test/kernels/correct"), Settings.Kernels.TRACKED)
                .link(link.gigabytesPerSecond / SCALE, 0, COPY_LATENCY)
                .kernelTimes(LAUNCH, Duration.ZERO)
                .virtualClock(CALL);
        for (Block block : sweep.subList(0, 2)) {
            settings = settings.kernelTime(
                    block.kernel(), Duration.ofNanos(Math.round(block.computeSeconds(tokens) * 1e9)));
        }
        SimulatedDriver driver = SimulatedDriver.load(settings);
        try (Raw cuda = new Raw(Ptx.correct())) {
            driver.reset();
            double nanos = secondSweepNanos(cuda, sweep, slots, prefetch);
            if (!driver.findings().isEmpty()) {
                throw new IllegalStateException(driver.findings().toString());
            }
            return nanos;
        }
    }

    private static double secondSweepNanos(Raw cuda, List<Block> sweep, int slots, boolean prefetch) {
        long largest = sweep.stream().mapToLong(Block::bytes).max().orElseThrow();
        CUstream compute = Raw.stream();
        CUstream copies = prefetch ? Raw.stream() : compute;
        Locked weights = Raw.locked(largest);
        List<Device> slot = new ArrayList<>();
        List<CUevent> arrived = new ArrayList<>();
        List<CUevent> read = new ArrayList<>();
        for (int i = 0; i < slots; i++) {
            slot.add(Raw.device(largest));
            arrived.add(Raw.event());
            read.add(Raw.event());
            check(cuMemsetD32(slot.get(i), 0, largest / 4));
        }
        check(jcuda.driver.JCudaDriver.cuCtxSynchronize());
        CUevent[] ends = {Raw.timingEvent(), Raw.timingEvent()};
        int step = 0;
        for (CUevent end : ends) {
            for (Block block : sweep) {
                int s = step++ % slots;
                if (prefetch) {
                    check(cuStreamWaitEvent(copies, read.get(s), 0));
                }
                check(cuMemcpyHtoDAsync(slot.get(s), weights, block.bytes(), copies));
                if (prefetch) {
                    check(cuEventRecord(arrived.get(s), copies));
                    check(cuStreamWaitEvent(compute, arrived.get(s), 0));
                }
                check(cuda.launch(block.kernel(), 1, 32, compute, slot.get(s), 32));
                if (prefetch) {
                    check(cuEventRecord(read.get(s), compute));
                }
            }
            check(cuEventRecord(end, compute));
        }
        check(cuStreamSynchronize(compute));
        float[] millis = new float[1];
        check(cuEventElapsedTime(millis, ends[0], ends[1]));
        return millis[0] * 1e6;
    }

    // ---- the document ----

    /** Both tables, in Markdown. */
    static String tables() {
        StringBuilder text = new StringBuilder("| link (page-locked copies) | T |");
        for (int tokens : TOKENS) {
            text.append(' ').append(tokens).append(tokens == 1 ? " token |" : " |");
        }
        text.append("\n|---|---:|").append("---:|".repeat(TOKENS.length)).append("\n| C, everything resident | |");
        for (int tokens : TOKENS) {
            text.append(' ').append(millis(computeSeconds(tokens))).append(" |");
        }
        text.append('\n');
        for (Link link : Link.values()) {
            text.append(String.format(
                    Locale.ROOT,
                    "| %s, %.1f GB/s | %s |",
                    link.title,
                    link.gigabytesPerSecond,
                    millis(transferSeconds(link))));
            for (int tokens : TOKENS) {
                text.append(String.format(
                        Locale.ROOT, " %.2f (%.2f) |", gain(Blocks.LAYERS, 2, link, tokens), bound(link, tokens)));
            }
            text.append('\n');
        }
        return text.toString();
    }

    /** How many slots unequal blocks need, in Markdown. */
    static String slotTable() {
        StringBuilder text = new StringBuilder("| PCIe 4.0 x16 | bound | layers, 2 slots |");
        for (int slots = 2; slots <= 6; slots++) {
            text.append(" parts, ").append(slots).append(" slots |");
        }
        text.append("\n|---|---:|---:|---:|---:|---:|---:|---:|\n");
        for (int tokens : new int[] {256, 512, 1024, 2048}) {
            text.append(String.format(
                    Locale.ROOT,
                    "| %d tokens | %.2f | %.2f |",
                    tokens,
                    bound(Link.PCIE4_X16, tokens),
                    gain(Blocks.LAYERS, 2, Link.PCIE4_X16, tokens)));
            for (int slots = 2; slots <= 6; slots++) {
                text.append(String.format(Locale.ROOT, " %.2f |", gain(Blocks.PARTS, slots, Link.PCIE4_X16, tokens)));
            }
            text.append('\n');
        }
        return text.toString();
    }

    private static String millis(double seconds) {
        return String.format(Locale.ROOT, seconds < 0.01 ? "%.1f ms" : "%.0f ms", seconds * 1e3);
    }

    /** The plot: lines are the bound, points are the virtual clock. */
    static String plot() {
        String[] colours = {"#7b3294", "#c2528b", "#e66101", "#b8860b", "#1b7837", "#2166ac"};
        int left = 60;
        int top = 30;
        int width = 620;
        int height = 320;
        StringBuilder svg = new StringBuilder();
        svg.append("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 860 420\" font-family=\"sans-serif\" ")
                .append("font-size=\"13\">\n<rect width=\"860\" height=\"420\" fill=\"white\"/>\n");
        for (int i = 0; i <= 5; i++) {
            double y = top + height - height * i / 5.0;
            svg.append(String.format(
                    Locale.ROOT,
                    "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"#ddd\"/>\n"
                            + "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.1f</text>\n",
                    left,
                    y,
                    left + width,
                    y,
                    left - 8,
                    y + 4,
                    1 + i / 5.0));
        }
        for (int tokens : TOKENS) {
            svg.append(String.format(
                    Locale.ROOT,
                    "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%d</text>\n",
                    x(tokens, left, width),
                    top + height + 20,
                    tokens));
        }
        svg.append("<text x=\"370\" y=\"400\" text-anchor=\"middle\">tokens in a sweep (ubatch)</text>\n")
                .append("<text x=\"18\" y=\"190\" text-anchor=\"middle\" transform=\"rotate(-90 18 190)\">")
                .append("times as fast as copying and computing in turn</text>\n");
        for (Link link : Link.values()) {
            String colour = colours[link.ordinal()];
            svg.append("<polyline fill=\"none\" stroke=\"").append(colour).append("\" points=\"");
            for (double exponent = 0; exponent <= 12.001; exponent += 0.125) {
                int tokens = (int) Math.round(Math.pow(2, exponent));
                svg.append(String.format(
                        Locale.ROOT,
                        "%.1f,%.1f ",
                        x(Math.pow(2, exponent), left, width),
                        y(bound(link, tokens), top, height)));
            }
            svg.append("\"/>\n");
            for (int tokens : TOKENS) {
                svg.append(String.format(
                        Locale.ROOT,
                        "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>\n",
                        x(tokens, left, width),
                        y(gain(Blocks.LAYERS, 2, link, tokens), top, height),
                        colour));
            }
            int row = top + 20 + 24 * link.ordinal();
            svg.append(String.format(
                    Locale.ROOT,
                    "<circle cx=\"705\" cy=\"%d\" r=\"4\" fill=\"%s\"/>\n<text x=\"718\" y=\"%d\">%s</text>\n",
                    row,
                    colour,
                    row + 4,
                    link.title));
        }
        svg.append("<text x=\"698\" y=\"220\">points: virtual clock,</text>\n")
                .append("<text x=\"698\" y=\"238\">2 slots of a layer</text>\n")
                .append("<text x=\"698\" y=\"262\">lines: (C+T)/max(C,T)</text>\n</svg>\n");
        return svg.toString();
    }

    private static double x(double tokens, int left, int width) {
        return left + width * Math.log(tokens) / Math.log(TOKENS[TOKENS.length - 1]);
    }

    private static double y(double gain, int top, int height) {
        return top + height - height * (gain - 1);
    }

    static final Path DOCUMENT = Path.of("../docs/prefetch-gain.md");
    static final Path PLOT = Path.of("../docs/images/prefetch-gain.svg");

    /** The document's generated parts. */
    static String generated() {
        return tables() + '\n' + slotTable();
    }

    /** The generated parts as they stand in the document. */
    static String written() throws IOException {
        String document = Files.readString(DOCUMENT);
        return document.substring(document.indexOf(BEGIN) + BEGIN.length(), document.indexOf(END))
                .strip();
    }

    public static void main(String[] arguments) throws IOException {
        String document = Files.readString(DOCUMENT);
        Files.writeString(
                DOCUMENT,
                document.substring(0, document.indexOf(BEGIN) + BEGIN.length())
                        + "\n"
                        + generated()
                        + document.substring(document.indexOf(END)));
        Files.writeString(PLOT, plot());
    }
}
