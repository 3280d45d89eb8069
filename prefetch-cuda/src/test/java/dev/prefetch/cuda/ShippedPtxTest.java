package dev.prefetch.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.prefetch.backend.cpu.CpuBackendProvider;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.ShortBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import jcuda.nvptxcompiler.JNvPTXCompiler;
import jcuda.nvptxcompiler.nvPTXCompilerHandle;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.FieldSource;

/** The PTX resources are what their sources give, and every card from Turing on can run them. */
class ShippedPtxTest {

    static final List<String> FAMILIES = KernelModules.FAMILIES;

    private static final List<String> ARCHITECTURES = List.of("sm_75", "sm_80", "sm_86", "sm_89", "sm_90");

    @Test
    void everySourceIsAFamily() throws IOException {
        try (Stream<Path> files = Files.list(Devices.KERNELS)) {
            assertThat(files.map(file -> file.getFileName().toString()).filter(name -> name.endsWith(".cu")))
                    .map(name -> name.replace(".cu", ""))
                    .containsExactlyInAnyOrderElementsOf(FAMILIES);
        }
    }

    @ParameterizedTest
    @FieldSource("FAMILIES")
    void wasMadeFromTheseSources(String family) throws Exception {
        String ptx = text(family);
        assertThat(header(ptx, "source-sha256"))
                .as("run src/main/cuda/build-ptx.sh")
                .isEqualTo(hash(List.of(Devices.KERNELS.resolve(family + ".cu"))));
        try (Stream<Path> files = Files.list(Devices.KERNELS)) {
            List<Path> headers = files.filter(file -> file.toString().endsWith(".cuh"))
                    .sorted()
                    .toList();
            assertThat(header(ptx, "headers-sha256"))
                    .as("run src/main/cuda/build-ptx.sh")
                    .isEqualTo(hash(headers));
        }
        assertThat(ptx).contains("\n.version 7.0\n").contains("\n.target sm_75\n");
    }

    /** The points of the grid formats have one place of truth, the core's resource; nothing else checks that a copy is whole. */
    @Test
    void theGridsAreThoseOfTheCore() throws Exception {
        List<Integer> expected = new ArrayList<>();
        try (InputStream resource = CpuBackendProvider.class.getResourceAsStream("grids.bin")) {
            ShortBuffer words = ByteBuffer.wrap(resource.readAllBytes())
                    .order(ByteOrder.LITTLE_ENDIAN)
                    .asShortBuffer();
            while (words.hasRemaining()) {
                expected.add(words.get() & 0xffff);
            }
        }
        String header = Files.readString(Devices.KERNELS.resolve("grids.cuh"));
        List<Integer> words = new ArrayList<>();
        List<String> tables = new ArrayList<>();
        Matcher table = Pattern.compile("uint16_t (\\w+)_points\\[(\\d+)] = \\{([^}]*)}")
                .matcher(header);
        while (table.find()) {
            List<Integer> points = Pattern.compile("\\d+")
                    .matcher(table.group(3))
                    .results()
                    .map(number -> Integer.valueOf(number.group()))
                    .toList();
            assertThat(points).as(table.group(1)).hasSize(Integer.parseInt(table.group(2)));
            tables.add(table.group(1));
            words.addAll(points);
        }
        assertThat(tables).containsExactly("iq2_xxs", "iq2_xs", "iq2_s", "iq1", "iq3_xxs", "iq3_s");
        assertThat(words).as("run src/main/cuda/build-ptx.sh").isEqualTo(expected);
    }

    /** By the compiler that JCuda brings, which needs neither a card nor a toolkit; side by side, because it takes long. */
    @Test
    void assemblesForEveryGeneration() {
        JNvPTXCompiler.setExceptionsEnabled(true);
        // The largest families first: the last ones to end decide how long it takes.
        List<String> families = FAMILIES.stream()
                .sorted(Comparator.comparing(family -> -KernelModules.ptx(family).length))
                .toList();
        Map<String, Long> bytes = new ConcurrentHashMap<>();
        try (ExecutorService compilers =
                Executors.newFixedThreadPool(Runtime.getRuntime().availableProcessors())) {
            for (String family : families) {
                for (String architecture : ARCHITECTURES) {
                    compilers.execute(
                            () -> bytes.put(family + " for " + architecture, assembledBytes(family, architecture)));
                }
            }
        }
        // What could not be assembled is missing.
        assertThat(bytes).hasSize(FAMILIES.size() * ARCHITECTURES.size());
        assertThat(bytes.values()).allMatch(size -> size > 0);
    }

    private static long assembledBytes(String family, String architecture) {
        byte[] ptx = KernelModules.ptx(family);
        nvPTXCompilerHandle compiler = new nvPTXCompilerHandle();
        JNvPTXCompiler.nvPTXCompilerCreate(compiler, ptx.length, Arrays.copyOf(ptx, ptx.length + 1));
        JNvPTXCompiler.nvPTXCompilerCompile(compiler, 1, new String[] {"--gpu-name=" + architecture});
        long[] bytes = new long[1];
        JNvPTXCompiler.nvPTXCompilerGetCompiledProgramSize(compiler, bytes);
        JNvPTXCompiler.nvPTXCompilerDestroy(compiler);
        return bytes[0];
    }

    @Test
    void theCompilerAtHandGivesTheSame() throws Exception {
        assumeTrue(hasNvcc(), "there is no nvcc on this machine: only the hashes were compared");
        Process check = new ProcessBuilder("./build-ptx.sh", "--check")
                .directory(Devices.KERNELS.toFile())
                .redirectErrorStream(true)
                .start();
        String output = new String(check.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(check.waitFor()).as(output).isZero();
    }

    private static boolean hasNvcc() {
        return Stream.of(System.getenv("PATH").split(":"))
                .anyMatch(folder -> Files.isExecutable(Path.of(folder, "nvcc")));
    }

    private static String text(String family) {
        return new String(KernelModules.ptx(family), StandardCharsets.UTF_8);
    }

    private static String header(String ptx, String key) {
        Matcher matcher =
                Pattern.compile("^// " + key + ": (\\w+)$", Pattern.MULTILINE).matcher(ptx);
        assertThat(matcher.find()).isTrue();
        return matcher.group(1);
    }

    private static String hash(List<Path> files) throws Exception {
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        for (Path file : files) {
            digest.update(Files.readAllBytes(file));
        }
        return HexFormat.of().formatHex(digest.digest());
    }
}
