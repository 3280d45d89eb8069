package dev.prefetch.cuda.simulator;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * Compiles the simulated driver and kernel libraries with g++ into {@code target/simulator}, each in a directory named by a
 * hash of its sources, the compiler and the flags. A finished directory is never written again: it appears by one
 * rename, so that test processes that run together can share it.
 */
final class SimulatorBuild {

    private static final Path SOURCES = Path.of("src", "test", "simulator").toAbsolutePath();
    private static final Path OUTPUT = Path.of("target", "simulator").toAbsolutePath();
    private static final List<String> COMMON = List.of("g++", "-std=c++17", "-fPIC", "-g1", "-fvisibility=hidden");
    private static final List<String> LINK = List.of(
            "-shared",
            "-fno-gnu-unique",
            "-static-libstdc++",
            "-static-libgcc",
            "-Wl,-z,defs",
            "-Wl,--exclude-libs,ALL",
            "-pthread",
            "-ldl");
    private static final Pattern KERNEL = Pattern.compile(
            "(template\\s*<[^;{}]*>\\s*)?(?:extern\\s*\"C\"\\s*)?SIMULATOR_KERNEL[^;{}()]*?\\b(\\w+)\\s*\\(");

    private SimulatorBuild() {}

    /** Why nothing can be built here, if so. */
    static Optional<String> unavailable() {
        if (!System.getProperty("os.name").equals("Linux")
                || !System.getProperty("os.arch").equals("amd64")) {
            return Optional.of("the simulated CUDA driver is for Linux on x86-64");
        }
        try {
            compilerVersion();
            return Optional.empty();
        } catch (IOException e) {
            return Optional.of("the simulated CUDA driver is built with g++, which was not found: " + e.getMessage());
        }
    }

    /** Returns {@code libcuda.so.1}. */
    static Path driver() throws IOException {
        List<Path> sources = files(SOURCES.resolve("driver"), ".cpp");
        List<String> flags = new ArrayList<>(COMMON);
        flags.addAll(List.of("-O2", "-Wall", "-Wextra", "-Werror", "-Wl,-soname,libcuda.so.1"));
        flags.addAll(LINK);
        List<Path> inputs = new ArrayList<>(files(SOURCES.resolve("driver"), ""));
        inputs.add(SOURCES.resolve("include/kernel_abi.h"));
        return once("driver", inputs, flags, directory -> {
                    Path all = Files.writeString(directory.resolve("driver.cpp"), includes(sources));
                    List<String> command = new ArrayList<>(flags.subList(0, flags.size() - LINK.size()));
                    command.addAll(List.of("-I", SOURCES.resolve("include").toString(), all.toString()));
                    command.add("-Wl,--version-script=" + SOURCES.resolve("driver/exports.map"));
                    command.addAll(
                            List.of("-o", directory.resolve("libcuda.so.1").toString()));
                    command.addAll(LINK);
                    run(command);
                })
                .resolve("libcuda.so.1");
    }

    /** Returns a library for each {@code .cu} file of a directory. */
    static List<Path> kernels(Path directory, Settings.Kernels how) throws IOException {
        List<Path> sources = files(directory, ".cu");
        if (sources.isEmpty()) {
            throw new IOException("no .cu file is in " + directory);
        }
        Path runtime = kernelRuntime();
        try {
            // Of independent files: the slowest one decides instead of their sum.
            return sources.parallelStream()
                    .map(source -> {
                        try {
                            return kernelLibrary(source, runtime, how);
                        } catch (IOException e) {
                            throw new UncheckedIOException(e);
                        }
                    })
                    .toList();
        } catch (UncheckedIOException e) {
            throw e.getCause();
        }
    }

    private static Path kernelRuntime() throws IOException {
        List<String> flags = new ArrayList<>(COMMON);
        flags.addAll(List.of("-O2", "-fno-exceptions", "-fno-rtti", "-Wall", "-Wextra", "-Werror"));
        List<Path> inputs = new ArrayList<>(files(SOURCES.resolve("runtime"), ""));
        inputs.addAll(files(SOURCES.resolve("include"), ""));
        return once("runtime", inputs, flags, directory -> {
                    Path all = Files.writeString(
                            directory.resolve("runtime.cpp"), includes(files(SOURCES.resolve("runtime"), ".cpp")));
                    List<String> command = new ArrayList<>(flags);
                    command.addAll(List.of("-I", SOURCES.resolve("include").toString(), "-c", all.toString()));
                    command.addAll(List.of("-o", directory.resolve("runtime.o").toString()));
                    run(command);
                })
                .resolve("runtime.o");
    }

    private static Path kernelLibrary(Path source, Path runtime, Settings.Kernels how) throws IOException {
        List<String> flags = new ArrayList<>(COMMON);
        flags.addAll(instructionSet());
        flags.addAll(List.of(
                "-fno-exceptions",
                "-fno-rtti",
                "-w",
                "-I",
                SOURCES.resolve("include").toString()));
        flags.addAll(List.of("-I", source.getParent().toString(), "-include", "simulated_device.h"));
        List<String> compile = new ArrayList<>(flags);
        compile.addAll(how == Settings.Kernels.TRACKED ? List.of("-O1", "-fsanitize=thread") : List.of("-O2"));
        List<Path> inputs = new ArrayList<>(files(SOURCES.resolve("include"), ""));
        inputs.addAll(files(source.getParent(), ".h"));
        inputs.addAll(files(source.getParent(), ".cuh"));
        inputs.add(source);
        inputs.add(runtime);
        String name = source.getFileName().toString().replaceFirst("\\.cu$", "");
        String kind = name + '-' + how.name().toLowerCase(java.util.Locale.ROOT);
        return once(kind, inputs, compile, directory -> {
                    Path wrapper = Files.writeString(directory.resolve(name + ".cpp"), wrapper(source, flags, how));
                    Path object = directory.resolve(name + ".o");
                    List<String> command = new ArrayList<>(compile);
                    command.addAll(List.of("-c", wrapper.toString(), "-o", object.toString()));
                    run(command);
                    Path exports = Files.writeString(
                            directory.resolve("exports.map"), "{ global: simulator_kernel_library; local: *; };\n");
                    List<String> link = new ArrayList<>(List.of("g++", object.toString(), runtime.toString()));
                    link.add("-Wl,--version-script=" + exports);
                    link.addAll(List.of("-o", directory.resolve(name + ".so").toString()));
                    link.addAll(LINK);
                    run(link);
                })
                .resolve(name + ".so");
    }

    /** The names come from the preprocessed source, since macros make kernels too. */
    private static String wrapper(Path source, List<String> flags, Settings.Kernels how) throws IOException {
        List<String> command = new ArrayList<>(flags);
        command.addAll(List.of("-DSIMULATOR_LIST_KERNELS", "-x", "c++", "-E", "-P", source.toString()));
        Matcher matcher = KERNEL.matcher(run(command));
        TreeSet<String> names = new TreeSet<>();
        while (matcher.find()) {
            if (matcher.group(1) == null) {
                names.add(matcher.group(2));
            }
        }
        if (names.isEmpty()) {
            throw new IOException("no __global__ function is in " + source);
        }
        int tracked = how == Settings.Kernels.TRACKED ? 1 : 0;
        StringBuilder text = new StringBuilder("#include \"" + source + "\"\n");
        names.forEach(
                kernel -> text.append("SIMULATOR_REGISTER(").append(kernel).append(")\n"));
        text.append("static const simulator_kernel* const simulator_kernels[] = {\n");
        names.forEach(
                kernel -> text.append("    &simulator_kernel_").append(kernel).append(",\n"));
        text.append("};\nextern \"C\" {\nextern const int simulator_tracked;\nconst int simulator_tracked = ")
                .append(tracked)
                .append(";\n__attribute__((visibility(\"default\"))) const simulator_library* ")
                .append("simulator_kernel_library(void) {\n")
                .append("    static const simulator_library library = {SIMULATOR_ABI_VERSION, ")
                .append(tracked)
                .append(", ")
                .append(names.size())
                .append(", \"")
                .append(source.getFileName())
                .append("\", simulator_kernels, simulator_run};\n    return &library;\n}\n}\n");
        return text.toString();
    }

    /** AVX2 where this machine has it: half precision is converted by hardware, and loops are several times as fast. */
    private static List<String> instructionSet() throws IOException {
        Path cpus = Path.of("/proc/cpuinfo");
        String flags = Files.isReadable(cpus) ? Files.readString(cpus) : "";
        boolean v3 = Stream.of("avx2", "fma", "f16c", "bmi2")
                .allMatch(flag ->
                        Pattern.compile("\\b" + flag + "\\b").matcher(flags).find());
        return v3 ? List.of("-march=x86-64-v3") : List.of();
    }

    private interface Step {
        void buildInto(Path directory) throws IOException;
    }

    private static Path once(String kind, List<Path> inputs, List<String> flags, Step step) throws IOException {
        Path finished = OUTPUT.resolve(kind + '-' + hash(inputs, flags));
        if (Files.isDirectory(finished)) {
            return finished;
        }
        Files.createDirectories(OUTPUT);
        Path lockFile = OUTPUT.resolve(kind + ".lock");
        synchronized (kind.intern()) {
            try (FileChannel channel = FileChannel.open(lockFile, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
                    FileLock lock = channel.lock()) {
                if (!lock.isValid() || Files.isDirectory(finished)) {
                    return finished;
                }
                Path building = Files.createTempDirectory(OUTPUT, kind + "-building-");
                step.buildInto(building);
                try {
                    Files.move(building, finished, StandardCopyOption.ATOMIC_MOVE);
                } catch (FileAlreadyExistsException e) {
                    // Another process has just finished the same.
                    return finished;
                }
                return finished;
            }
        }
    }

    private static String hash(List<Path> inputs, List<String> flags) throws IOException {
        try {
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            digest.update((compilerVersion() + flags).getBytes(StandardCharsets.UTF_8));
            for (Path input : inputs) {
                digest.update(input.toString().getBytes(StandardCharsets.UTF_8));
                digest.update(Files.readAllBytes(input));
            }
            return HexFormat.of().formatHex(digest.digest(), 0, 8);
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
    }

    private static String compilerVersion() throws IOException {
        return run(List.of("g++", "--version")).lines().findFirst().orElse("");
    }

    private static String includes(List<Path> sources) {
        StringBuilder text = new StringBuilder();
        sources.forEach(source -> text.append("#include \"").append(source).append("\"\n"));
        return text.toString();
    }

    private static List<Path> files(Path directory, String ending) throws IOException {
        try (Stream<Path> files = Files.list(directory)) {
            return files.filter(file -> file.toString().endsWith(ending))
                    .sorted()
                    .toList();
        }
    }

    private static String run(List<String> command) throws IOException {
        Process process = new ProcessBuilder(command)
                .redirectErrorStream(true)
                .redirectInput(ProcessBuilder.Redirect.from(Path.of("/dev/null").toFile()))
                .start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        try {
            int exit = process.waitFor();
            if (exit != 0) {
                throw new IOException(String.join(" ", command) + " ended with " + exit + ":\n" + output);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            process.destroyForcibly();
            throw new IOException("interrupted while g++ ran", e);
        }
        return output;
    }
}
