package dev.prefetch.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
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

    /** By the compiler that JCuda brings, which needs neither a card nor a toolkit. */
    @ParameterizedTest
    @FieldSource("FAMILIES")
    void assemblesForEveryGeneration(String family) {
        JNvPTXCompiler.setExceptionsEnabled(true);
        byte[] ptx = KernelModules.ptx(family);
        for (String architecture : List.of("sm_75", "sm_80", "sm_86", "sm_89", "sm_90")) {
            nvPTXCompilerHandle compiler = new nvPTXCompilerHandle();
            JNvPTXCompiler.nvPTXCompilerCreate(compiler, ptx.length, Arrays.copyOf(ptx, ptx.length + 1));
            JNvPTXCompiler.nvPTXCompilerCompile(compiler, 1, new String[] {"--gpu-name=" + architecture});
            long[] bytes = new long[1];
            JNvPTXCompiler.nvPTXCompilerGetCompiledProgramSize(compiler, bytes);
            assertThat(bytes[0]).as(architecture).isPositive();
            JNvPTXCompiler.nvPTXCompilerDestroy(compiler);
        }
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
