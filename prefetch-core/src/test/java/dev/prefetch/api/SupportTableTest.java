package dev.prefetch.api;

import static dev.prefetch.testing.DocumentedTable.assertDocumented;
import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceOptions;
import dev.prefetch.model.Architecture;
import dev.prefetch.testing.Conformance;
import dev.prefetch.testing.RandomEncoder;
import dev.prefetch.testing.RandomModel;
import java.io.IOException;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** The tables of {@code docs/models.md} are what the code says. */
class SupportTableTest {

    @Test
    void architecturesAreThoseOfTheCodeWithTheirReferences() throws IOException {
        Conformance.folder();
        List<String> recorded = ReferenceLogitsTest.models().toList();
        StringBuilder table =
                new StringBuilder("| `general.architecture` | models | exact logits, or vectors of encoders,"
                        + " of random models in | and of recorded models in |\n|---|---|---|---|\n");
        for (Architecture architecture : Architecture.values()) {
            List<String> random = Stream.concat(
                            RandomModel.families().stream()
                                    .filter(family ->
                                            RandomModel.architectureOf(family).equals(architecture.id())),
                            RandomEncoder.families().stream()
                                    .filter(family ->
                                            RandomEncoder.architectureOf(family).equals(architecture.id())))
                    .map(family -> described(architecture, family))
                    .toList();
            assertThat(random).as("references of %s", architecture).isNotEmpty();
            table.append("| `%s` | %s | %s | %s |\n"
                    .formatted(
                            architecture.id(),
                            architecture.models(),
                            String.join("; ", random),
                            String.join(
                                    ", ",
                                    recorded.stream()
                                            .filter(model -> familyOf(model).equals(architecture.id()))
                                            .map(model -> recorded(architecture, model))
                                            .toList())));
        }
        assertDocumented("architectures", table.toString());
    }

    /** The architecture of a model by the name of its file. */
    private static String familyOf(String model) {
        String family = model.substring(0, model.lastIndexOf('-'));
        return switch (family) {
            case "llama-spm", "llama3", "mixtral" -> "llama";
            default -> family;
        };
    }

    /** A family's formats, behind its name where it is not that of the architecture. */
    private static String described(Architecture architecture, String family) {
        String types = Stream.concat(RandomModel.names().stream(), RandomEncoder.names().stream())
                .filter(name -> name.substring(0, name.lastIndexOf('-')).equals(family))
                .map(name -> name.substring(name.lastIndexOf('-') + 1))
                .collect(Collectors.joining(", "));
        return family.equals(architecture.id()) ? types : family + ": " + types;
    }

    private static String recorded(Architecture architecture, String model) {
        String type = model.substring(model.lastIndexOf('-') + 1);
        String family = model.substring(0, model.lastIndexOf('-'));
        return family.equals(architecture.id()) ? type : type + " (" + family + ")";
    }

    @Test
    void weightFormatsAreThoseOfTheProcessor() throws IOException {
        try (Device device = Backends.host().open(new DeviceOptions(1))) {
            String types = device.weightTypes().stream()
                    .sorted()
                    .map(type -> "`" + type + "`")
                    .collect(Collectors.joining(", "));
            assertDocumented("formats", types + "\n");
        }
    }
}
