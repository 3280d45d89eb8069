package dev.prefetch;

import static com.tngtech.archunit.base.DescribedPredicate.not;
import static com.tngtech.archunit.lang.conditions.ArchConditions.be;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import com.tngtech.archunit.base.DescribedPredicate;
import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.domain.JavaPackage;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.lang.ArchRule;
import com.tngtech.archunit.library.dependencies.SliceAssignment;
import com.tngtech.archunit.library.dependencies.SliceIdentifier;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;
import org.jspecify.annotations.NullMarked;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * The rooms of the core and who may use whom. A new package needs a row in {@link #ROOMS}; an arrow that is missing
 * here is a question of design, not of this test.
 */
class ArchitectureTest {

    private static final String BASE = "dev.prefetch";
    private static final String CPU = "backend.cpu";

    /** Each room with the rooms it may use. */
    private static final Map<String, Set<String>> ROOMS = Map.ofEntries(
            Map.entry("gguf", Set.of()),
            Map.entry("storage", Set.of("gguf")),
            Map.entry("backend", Set.of("storage", "gguf")),
            Map.entry(CPU, Set.of("backend", "storage", "gguf")),
            Map.entry("template", Set.of()),
            Map.entry("grammar", Set.of()),
            Map.entry("tokenizer", Set.of("gguf")),
            Map.entry("model", Set.of("backend", "tokenizer", "gguf")),
            Map.entry("prefetch", Set.of("model", "backend", "storage", "gguf")),
            Map.entry(
                    "inference",
                    Set.of("prefetch", "model", "tokenizer", "template", "grammar", "backend", "storage", "gguf")),
            Map.entry(
                    "api",
                    Set.of(
                            "inference",
                            "prefetch",
                            "model",
                            "tokenizer",
                            "template",
                            "grammar",
                            "backend",
                            "storage",
                            "gguf")));

    /** Packages from outside that every room may use. */
    private static final List<String> EVERYWHERE = List.of("java..", "org.slf4j..", "org.jspecify..");

    /** Packages from outside that only one room may use. */
    private static final Map<String, List<String>> ONLY_IN = Map.of(
            CPU,
            List.of("jdk.incubator.vector.."),
            "storage",
            List.of("com.sun.nio.file.."),
            // Flight-recorder events, and the free memory of systems without /proc.
            "prefetch",
            List.of("jdk.jfr..", "com.sun.management.."));

    private static final JavaClasses CORE = new ClassFileImporter()
            .withImportOption(ImportOption.Predefined.DO_NOT_INCLUDE_TESTS)
            .importPackages(BASE);

    static Stream<String> rooms() {
        return ROOMS.keySet().stream().sorted();
    }

    @ParameterizedTest
    @MethodSource("rooms")
    void usesOnlyWhatItMay(String room) {
        mayUse(room, ROOMS.getOrDefault(room, Set.of())).check(CORE);
    }

    @Test
    void everyClassIsInARoom() {
        classes()
                .that()
                .resideInAPackage(BASE + "..")
                .should(be(DescribedPredicate.describe(
                        "in one of the rooms " + ROOMS.keySet(),
                        type -> roomOf(type).isPresent())))
                .check(CORE);
    }

    @Test
    void nobodyNamesTheCpuBackend() {
        noClasses()
                .that(not(inRoom(CPU)))
                .should()
                .dependOnClassesThat(inRoom(CPU))
                .allowEmptyShould(true)
                .check(CORE);
    }

    @Test
    void roomsAreFreeOfCycles() {
        slices().assignedFrom(new ByRoom()).should().beFreeOfCycles().check(CORE);
    }

    @Test
    void everyPackageIsNullMarked() {
        List<JavaPackage> packages = CORE.getPackage(BASE).getSubpackagesInTree().stream()
                .filter(candidate -> !candidate.getClasses().isEmpty())
                .toList();
        assertThat(packages)
                .hasSizeGreaterThanOrEqualTo(5)
                .allSatisfy(candidate -> assertThat(candidate.isAnnotatedWith(NullMarked.class))
                        .as("package-info of %s has @NullMarked", candidate.getName())
                        .isTrue());
    }

    /** Guards the guard: the rule sees an arrow that is really there. */
    @Test
    void failsWhereAnArrowIsNotAllowed() {
        assertThatExceptionOfType(AssertionError.class)
                .isThrownBy(
                        () -> mayUse("model", Set.of("backend", "tokenizer")).check(CORE))
                .withMessageContaining("dev.prefetch.gguf.GgmlType");
    }

    private static ArchRule mayUse(String room, Set<String> others) {
        List<String> outside = new ArrayList<>(EVERYWHERE);
        outside.addAll(ONLY_IN.getOrDefault(room, List.of()));
        DescribedPredicate<JavaClass> allowed = DescribedPredicate.or(
                JavaClass.Predicates.resideInAnyPackage(outside.toArray(String[]::new)), inRoom(room));
        for (String other : others) {
            allowed = allowed.or(inRoom(other));
        }
        return classes()
                .that(inRoom(room))
                .should()
                .onlyDependOnClassesThat(allowed.as("are in %s, %s or %s", room, others, outside))
                .allowEmptyShould(true);
    }

    private static DescribedPredicate<JavaClass> inRoom(String room) {
        return DescribedPredicate.describe(
                "are in room " + room, type -> roomOf(type).filter(room::equals).isPresent());
    }

    /** The room of a class: of {@code backend} and {@code backend.cpu} the longer that holds its package. */
    private static Optional<String> roomOf(JavaClass type) {
        String name = type.getPackageName() + ".";
        return ROOMS.keySet().stream()
                .filter(room -> name.startsWith(BASE + "." + room + "."))
                .max(Comparator.comparingInt(String::length));
    }

    private static final class ByRoom implements SliceAssignment {

        @Override
        public SliceIdentifier getIdentifierOf(JavaClass type) {
            return roomOf(type).map(SliceIdentifier::of).orElseGet(SliceIdentifier::ignore);
        }

        @Override
        public String getDescription() {
            return "rooms";
        }
    }
}
