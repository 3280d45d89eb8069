package dev.prefetch.testing;

import java.nio.file.Path;

/** The demo model that the sample application ships: a real model for tests that need one. */
public final class DemoModel {

    private static final Path SAMPLE = Path.of("..", "sample-app", "src");

    private DemoModel() {}

    /** The Q8_0 file. */
    public static Path file() {
        return SAMPLE.resolve("main/resources/demo-model/tiny-demo-chat-Q8_0.gguf");
    }

    /** Recorded greedy answers of its F32 weights, one JSON object a line. */
    public static Path goldenCases() {
        return SAMPLE.resolve("test/resources/demo-model/golden.jsonl");
    }
}
