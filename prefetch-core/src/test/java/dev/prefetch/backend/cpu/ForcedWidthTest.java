package dev.prefetch.backend.cpu;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * The tests of the kernels once more with every other width of vectors, each in a process of its own, because the width is
 * decided when a process starts. Wider vectors than the processor has are emulated, which is slow; they get the smaller tests.
 */
class ForcedWidthTest {

    @ParameterizedTest
    @ValueSource(ints = {128, 256, 512})
    void kernelsPassTheirTests(int bits) throws IOException, InterruptedException {
        if (bits == Vectors.BITS) {
            // What the tests of this process do.
            return;
        }
        String java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
        Process process = new ProcessBuilder(
                        java,
                        "--add-modules",
                        "jdk.incubator.vector",
                        "--enable-native-access=ALL-UNNAMED",
                        "-D" + KernelSelection.VECTOR_BITS_PROPERTY + "=" + bits,
                        "-cp",
                        System.getProperty("java.class.path"),
                        Runner.class.getName(),
                        bits > VectorKernels.preferredBits() ? "some" : "all")
                .redirectErrorStream(true)
                .start();
        try {
            String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            assertThat(process.waitFor(5, TimeUnit.MINUTES)).isTrue();
            assertThat(process.exitValue()).as(output).isZero();
            assertThat(output).contains("vector (" + bits + " bits)").containsPattern("passed [1-9]\\d+");
        } finally {
            process.destroyForcibly();
        }
    }

    /** What the processes run: test methods, found by their annotations. */
    static final class Runner {

        private static final List<Class<?>> CLASSES =
                List.of(BlockFormatsTest.class, MatmulTest.class, AttentionTest.class, ElementwiseTest.class);

        /** Methods that are quick enough for emulated vectors. */
        private static final List<String> QUICK = List.of(
                "expandsAsTheReferenceImplementation",
                "smallShapesAreWithinRoundingOfTheExactProduct",
                "halvesTakeActivationsOfAnySize",
                "aNotANumberInTheInputShowsInTheResult",
                "zeroActivationsGiveZero",
                "oneVeryLargeScoreTakesAllTheWeight");

        private Runner() {}

        public static void main(String[] args) throws Exception {
            System.out.println(new VectorKernels().name());
            int passed = 0;
            for (Class<?> type : CLASSES) {
                for (Method method : type.getDeclaredMethods()) {
                    if (args[0].equals("all") || QUICK.contains(method.getName())) {
                        passed += run(type, method);
                    }
                }
            }
            System.out.println("passed " + passed);
        }

        private static int run(Class<?> type, Method method) throws ReflectiveOperationException {
            if (method.isAnnotationPresent(Test.class)) {
                invoke(type, method);
                return 1;
            }
            if (!method.isAnnotationPresent(ParameterizedTest.class)) {
                return 0;
            }
            String[] sources = method.getAnnotation(MethodSource.class).value();
            Method source = type.getDeclaredMethod(sources[0].isEmpty() ? method.getName() : sources[0]);
            source.setAccessible(true);
            Object values = source.invoke(null);
            List<Object> arguments =
                    new ArrayList<>(values instanceof Stream<?> stream ? stream.toList() : (List<?>) values);
            for (Object argument : arguments) {
                invoke(type, method, argument);
            }
            return arguments.size();
        }

        private static void invoke(Class<?> type, Method method, Object... arguments)
                throws ReflectiveOperationException {
            var constructor = type.getDeclaredConstructor();
            constructor.setAccessible(true);
            method.setAccessible(true);
            try {
                method.invoke(constructor.newInstance(), arguments);
            } catch (InvocationTargetException e) {
                throw new AssertionError(method + " with " + List.of(arguments), e.getCause());
            }
        }
    }
}
