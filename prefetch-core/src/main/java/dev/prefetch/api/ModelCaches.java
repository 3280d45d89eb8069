package dev.prefetch.api;

import dev.prefetch.gguf.GgufFile;
import dev.prefetch.grammar.Json;
import dev.prefetch.storage.Sha256;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.FileVisitOption;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Finds models that other tools have downloaded: in the cache of the Hugging Face hub, among LM Studio's models and in
 * Ollama's store. Never uses the network.
 *
 * @param huggingFace folders of the hub's cache, with {@code models--OWNER--REPOSITORY/snapshots/REVISION/} in them
 * @param lmStudio folders with {@code OWNER/REPOSITORY/} in them
 * @param ollama folders with {@code manifests/} and {@code blobs/} in them
 */
public record ModelCaches(List<Path> huggingFace, List<Path> lmStudio, List<Path> ollama) {

    /** What is taken when a reference does not say and there are several. */
    static final String USUAL_QUANTISATION = "Q4_K_M";

    private static final int MAX_DEPTH = 4;
    private static final Pattern LATER_PART = Pattern.compile("-(?!00001)\\d{5}-of-\\d{5}\\.gguf$");
    private static final Pattern FIRST_PART = Pattern.compile("-00001-of-\\d{5}\\.gguf$");
    private static final String MODEL_LAYER = "application/vnd.ollama.image.model";

    public ModelCaches {
        huggingFace = List.copyOf(huggingFace);
        lmStudio = List.copyOf(lmStudio);
        ollama = List.copyOf(ollama);
    }

    /** The folders the tools use on this machine, their environment variables heeded; they need not exist. */
    public static ModelCaches ofSystem() {
        return of(System.getenv(), Path.of(System.getProperty("user.home")));
    }

    static ModelCaches of(Map<String, String> environment, Path home) {
        Path cache = folder(environment, "XDG_CACHE_HOME").orElse(home.resolve(".cache"));
        Path hub = folder(environment, "HF_HUB_CACHE")
                .or(() -> folder(environment, "HF_HOME").map(folder -> folder.resolve("hub")))
                .orElse(cache.resolve("huggingface/hub"));
        List<Path> ollama = folder(environment, "OLLAMA_MODELS")
                .map(List::of)
                .orElse(List.of(home.resolve(".ollama/models"), Path.of("/usr/share/ollama/.ollama/models")));
        return new ModelCaches(
                List.of(hub), List.of(home.resolve(".lmstudio/models"), cache.resolve("lm-studio/models")), ollama);
    }

    private static Optional<Path> folder(Map<String, String> environment, String variable) {
        return Optional.ofNullable(environment.get(variable))
                .filter(value -> !value.isBlank())
                .map(Path::of);
    }

    /**
     * The file of a model; of a split model its first file.
     *
     * @throws ModelNotFoundException when it lies in no folder, when the choice between several is not clear, or when the
     *     checksum of one of its files is another; the message holds the command that downloads it, or the choices
     * @throws UncheckedIOException when a folder or the file cannot be read
     */
    public Path find(ModelReference reference) {
        Path file = switch (reference) {
            case ModelReference.HuggingFace model -> findHuggingFace(model);
            case ModelReference.Ollama model -> findOllama(model);
        };
        if (!reference.sha256().isEmpty()) {
            requireChecksums(reference, GgufFile.filesOf(file));
        }
        return file;
    }

    private Path findHuggingFace(ModelReference.HuggingFace model) {
        List<Path> folders = new ArrayList<>();
        for (Path hub : huggingFace) {
            folders.add(hub.resolve("models--" + model.owner() + "--" + model.repository()));
        }
        List<Path> roots = folders.stream()
                .map(ModelCaches::snapshot)
                .flatMap(Optional::stream)
                .collect(Collectors.toCollection(ArrayList::new));
        for (Path models : lmStudio) {
            Path folder = models.resolve(model.owner()).resolve(model.repository());
            folders.add(folder);
            roots.add(folder);
        }
        for (Path root : roots) {
            Optional<Path> found = choose(model, root);
            if (found.isPresent()) {
                return found.get();
            }
        }
        throw missing(model, folders);
    }

    /** The revision of a repository that {@code main} points to, else the one that was downloaded last. */
    private static Optional<Path> snapshot(Path repository) {
        Path snapshots = repository.resolve("snapshots");
        try {
            Path main = repository.resolve("refs/main");
            if (Files.isRegularFile(main)) {
                Path current = snapshots.resolve(Files.readString(main).strip()).normalize();
                if (current.startsWith(snapshots) && Files.isDirectory(current)) {
                    return Optional.of(current);
                }
            }
            if (!Files.isDirectory(snapshots)) {
                return Optional.empty();
            }
            try (Stream<Path> revisions = Files.list(snapshots)) {
                return revisions.filter(Files::isDirectory).max(Comparator.comparingLong(ModelCaches::modified));
            }
        } catch (IOException e) {
            throw new UncheckedIOException("cannot read the model cache " + repository, e);
        }
    }

    private static long modified(Path folder) {
        try {
            return Files.getLastModifiedTime(folder).toMillis();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static Optional<Path> choose(ModelReference.HuggingFace model, Path root) {
        if (model.file() != null) {
            return Optional.of(root.resolve(model.file())).filter(Files::isRegularFile);
        }
        List<Path> all = ggufFiles(root);
        String quantisation = model.quantisation();
        if (quantisation == null && all.size() > 1) {
            quantisation = USUAL_QUANTISATION;
        }
        List<Path> fitting = all;
        if (quantisation != null) {
            String wanted = quantisation;
            fitting = all.stream().filter(file -> names(file, wanted)).toList();
        }
        if (fitting.size() > 1 || fitting.isEmpty() && model.quantisation() == null && !all.isEmpty()) {
            throw new ModelNotFoundException(
                    "The model reference " + model + " leaves open which of these files of " + root + " is meant: "
                            + all.stream()
                                    .map(file -> root.relativize(file).toString())
                                    .collect(Collectors.joining(", "))
                            + ".",
                    "Name one: hf:" + model.owner() + "/" + model.repository() + "/"
                            + root.relativize((fitting.isEmpty() ? all : fitting).getFirst()) + ".");
        }
        return fitting.stream().findFirst();
    }

    /** Whether the file's name has the quantisation as a word of its own: Q4_K is not in Q4_K_M, nor Q8_0 in MXQ8_0. */
    private static boolean names(Path file, String quantisation) {
        String name = FIRST_PART.matcher(file.getFileName().toString()).replaceFirst("");
        return Pattern.compile("(^|[-.])" + Pattern.quote(quantisation) + "($|[-.])", Pattern.CASE_INSENSITIVE)
                .matcher(name)
                .find();
    }

    /** Models under a folder, of split ones the first file, without the projectors of multi-modal ones. */
    private static List<Path> ggufFiles(Path root) {
        if (!Files.isDirectory(root)) {
            return List.of();
        }
        try (Stream<Path> files = Files.walk(root, MAX_DEPTH, FileVisitOption.FOLLOW_LINKS)) {
            return files.filter(Files::isRegularFile)
                    .filter(file -> {
                        String name = file.getFileName().toString().toLowerCase(Locale.ROOT);
                        return name.endsWith(".gguf")
                                && !name.startsWith("mmproj")
                                && !LATER_PART.matcher(name).find();
                    })
                    .sorted()
                    .toList();
        } catch (IOException e) {
            throw new UncheckedIOException("cannot read the model cache " + root, e);
        }
    }

    private Path findOllama(ModelReference.Ollama model) {
        String name = model.name().contains("/") ? model.name() : "library/" + model.name();
        List<Path> manifests = ollama.stream()
                .map(store -> store.resolve("manifests/registry.ollama.ai")
                        .resolve(name)
                        .resolve(model.tag()))
                .toList();
        for (int i = 0; i < manifests.size(); i++) {
            if (Files.isRegularFile(manifests.get(i))) {
                return blob(model, manifests.get(i), ollama.get(i).resolve("blobs"));
            }
        }
        throw missing(model, manifests);
    }

    private static Path blob(ModelReference.Ollama model, Path manifest, Path blobs) {
        String digest = digest(manifest);
        if (digest == null || !digest.matches("sha256:[0-9a-f]{64}")) {
            throw new ModelNotFoundException(
                    "Ollama's manifest " + manifest + " of " + model + " names no model file.", download(model));
        }
        Path blob = blobs.resolve(digest.replace(':', '-'));
        if (!Files.isRegularFile(blob)) {
            throw missing(model, List.of(blob));
        }
        return blob;
    }

    /** The digest of the layer that is the model itself, or null. */
    private static @Nullable String digest(Path manifest) {
        try {
            if (Json.parse(Files.readString(manifest)) instanceof Map<?, ?> object
                    && object.get("layers") instanceof List<?> layers) {
                for (Object layer : layers) {
                    if (layer instanceof Map<?, ?> fields
                            && MODEL_LAYER.equals(fields.get("mediaType"))
                            && fields.get("digest") instanceof String digest) {
                        return digest;
                    }
                }
            }
            return null;
        } catch (IllegalArgumentException _) {
            return null;
        } catch (IOException e) {
            throw new UncheckedIOException("cannot read Ollama's manifest " + manifest, e);
        }
    }

    private static ModelNotFoundException missing(ModelReference reference, List<Path> places) {
        return new ModelNotFoundException(
                "The model " + reference + " is not on this machine; looked for it in "
                        + places.stream().map(Path::toString).collect(Collectors.joining(", ")) + ".",
                download(reference));
    }

    private static String download(ModelReference reference) {
        return "Download it with: " + reference.downloadCommand();
    }

    private static void requireChecksums(ModelReference reference, List<Path> files) {
        List<String> expected = reference.sha256();
        if (files.size() != expected.size()) {
            throw new ModelNotFoundException(
                    "The model " + reference + " has " + files.size() + " files, from " + files.getFirst() + " on, but "
                            + expected.size() + " SHA-256 checksums were given.",
                    "Give one checksum for each file, in the order of their numbers, with commas between.");
        }
        // What is missing shows before minutes go into reading the others.
        for (Path file : files) {
            if (!Files.exists(file)) {
                throw new ModelNotFoundException(
                        "The file " + file + " of " + reference + " is missing.", download(reference));
            }
        }
        for (int i = 0; i < files.size(); i++) {
            String actual = sha256(files.get(i));
            if (!actual.equals(expected.get(i))) {
                throw new ModelNotFoundException(
                        "The file " + files.get(i) + " of " + reference + " has the SHA-256 checksum " + actual
                                + ", expected " + expected.get(i) + ".",
                        "Delete the file and download it again with: " + reference.downloadCommand());
            }
        }
    }

    /**
     * The SHA-256 checksum of a file, in lower-case hexadecimal digits. Reads all of it.
     *
     * @throws UncheckedIOException when it cannot be read; wraps a {@link NoSuchFileException} when it does not exist
     */
    public static String sha256(Path file) {
        try {
            return Sha256.ofFile(file);
        } catch (IOException e) {
            throw new UncheckedIOException("cannot read " + file + " to check it", e);
        }
    }
}
