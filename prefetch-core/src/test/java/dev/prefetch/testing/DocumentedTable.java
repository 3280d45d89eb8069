package dev.prefetch.testing;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;

/** The tables of {@code docs/models.md} that are what the code says. {@code -Dprefetch.docs.write=true} writes them anew. */
public final class DocumentedTable {

    private static final Path DOCS = Path.of("..", "docs", "models.md");

    private DocumentedTable() {}

    /** Asserts that the part of the page with that name is {@code expected}. */
    public static void assertDocumented(String name, String expected) throws IOException {
        String begin = "<!-- generated: " + name + " -->\n";
        String end = "<!-- end -->";
        String text = Files.readString(DOCS);
        assertThat(text).contains(begin);
        int from = text.indexOf(begin) + begin.length();
        int to = text.indexOf(end, from);
        if (Boolean.getBoolean("prefetch.docs.write")) {
            Files.writeString(DOCS, text.substring(0, from) + expected + text.substring(to));
            return;
        }
        assertThat(Arrays.asList(text.substring(from, to).split("\n")))
                .as("the table '%s' of docs/models.md", name)
                .containsExactly(expected.split("\n"));
    }
}
