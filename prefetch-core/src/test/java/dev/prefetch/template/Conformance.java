package dev.prefetch.template;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.stream.Stream;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.DynamicTest;
import tools.jackson.core.type.TypeReference;
import tools.jackson.databind.json.JsonMapper;

/** The recorded truth of the reference implementation; tests are skipped where the folder is absent. */
final class Conformance {

    static final JsonMapper JSON = JsonMapper.builder().build();
    private static final TypeReference<LinkedHashMap<String, Object>> OBJECT = new TypeReference<>() {};

    private Conformance() {}

    /** The tests made from a folder of recorded truth; one that is skipped, with the reason, where it is absent. */
    static Stream<DynamicTest> tests(String name, Function<Path, Stream<DynamicTest>> tests) {
        String root = System.getProperty("prefetch.conformance.dir", "");
        if (!root.isEmpty() && Files.isDirectory(Path.of(root, name))) {
            return tests.apply(Path.of(root, name));
        }
        String reason = "no conformance data '" + name + "' (system property prefetch.conformance.dir)";
        return Stream.of(DynamicTest.dynamicTest(name, () -> Assumptions.abort(reason)));
    }

    static Map<String, Object> object(String json) {
        return JSON.readValue(json, OBJECT);
    }

    static String read(Path file) {
        try {
            return Files.readString(file);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    static List<Path> list(Path folder) {
        try (var files = Files.list(folder)) {
            return files.sorted().toList();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
