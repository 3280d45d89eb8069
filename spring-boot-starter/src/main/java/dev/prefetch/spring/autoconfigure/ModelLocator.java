package dev.prefetch.spring.autoconfigure;

import dev.prefetch.api.ModelCaches;
import dev.prefetch.api.ModelNotFoundException;
import dev.prefetch.api.ModelReference;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import org.springframework.core.io.Resource;
import org.springframework.core.io.ResourceLoader;
import org.springframework.util.ResourceUtils;

/** Finds the file that a property such as {@code spring.ai.prefetch.model} means. */
final class ModelLocator {

    private final ResourceLoader resources;
    private final ModelCache cache;
    private final ModelCaches otherTools;

    /**
     * @param otherTools where other tools keep what they have downloaded
     */
    ModelLocator(ResourceLoader resources, ModelCache cache, ModelCaches otherTools) {
        this.resources = resources;
        this.cache = cache;
        this.otherTools = otherTools;
    }

    /**
     * @param property name of the property
     * @param location its value
     * @return an existing, readable file
     * @throws org.springframework.boot.diagnostics.FailureAnalyzedException when there is none
     */
    Path locate(String property, @Nullable String location) {
        return new Search(property).locate(location);
    }

    /** A search, with the name of the property for its messages. */
    private final class Search {

        private final String property;

        Search(String property) {
            this.property = property;
        }

        private String howToSet() {
            return "Set " + property + " to a GGUF file, for example '/models/qwen3-0.6b.gguf'"
                    + " or 'classpath:models/demo.gguf', or to the name of a model that was downloaded before, for example"
                    + " 'hf:Qwen/Qwen3-4B-GGUF:Q4_K_M'.";
        }

        private Path locate(@Nullable String location) {
            if (location == null || location.isBlank()) {
                throw StartupFailure.of(
                        "No model is configured: the property " + property + " is not set.",
                        howToSet() + " To use another chat model instead, set spring.ai.model.chat to its name, or to"
                                + " 'none'.");
            }
            String stripped = location.strip();
            if (stripped.startsWith(ResourceLoader.CLASSPATH_URL_PREFIX)) {
                return fromClasspath(stripped);
            }
            Path published = byReference(stripped);
            if (published != null) {
                return published;
            }
            if (stripped.startsWith("http://") || stripped.startsWith("https://")) {
                throw StartupFailure.of(
                        "The model '" + stripped + "' is an address on the network, and models are never downloaded.",
                        "Download the file, then set " + property + " to its path.");
            }
            return requireFile(stripped, toPath(stripped));
        }

        /** The file of a model that is named as it is published; null when the location is no such name. */
        private @Nullable Path byReference(String location) {
            try {
                return ModelReference.parse(location).map(otherTools::find).orElse(null);
            } catch (ModelNotFoundException e) {
                throw StartupFailure.of(e.getMessage(), e.remedy(), e);
            } catch (IllegalArgumentException e) {
                throw StartupFailure.of(e.getMessage() + ".", howToSet(), e);
            } catch (UncheckedIOException e) {
                throw StartupFailure.of(
                        "The model '" + location + "' could not be looked up: " + e.getMessage(),
                        "Make the folder readable, or set " + property + " to the path of the file.",
                        e);
            }
        }

        private Path fromClasspath(String location) {
            Resource resource = resources.getResource(location);
            if (!resource.exists()) {
                throw StartupFailure.of(
                        "The model '" + location + "' is not on the class path.",
                        "Add the file to the application's resources, or correct " + property + ".");
            }
            try {
                // An unpacked class path has a file already; only what is inside a jar must be copied out.
                return resource.isFile() ? requireFile(location, resource.getFilePath()) : cache.extract(resource);
            } catch (IOException e) {
                throw StartupFailure.of(
                        "The model '" + location + "' could not be extracted to " + cache.directory() + ": " + e,
                        "Set " + StartupFailure.property("cache-directory") + " to a folder that can be written and has"
                                + " room for the model, or keep the model outside the jar and set " + property
                                + " to its path.",
                        e);
            }
        }

        private Path toPath(String location) {
            try {
                if (location.startsWith(ResourceUtils.FILE_URL_PREFIX)) {
                    return ResourceUtils.getFile(location).toPath();
                }
                if (location.startsWith("~/")) {
                    return Path.of(System.getProperty("user.home"), location.substring(2));
                }
                return Path.of(location);
            } catch (FileNotFoundException | InvalidPathException e) {
                throw StartupFailure.of("'" + location + "' is not a valid path: " + e.getMessage(), howToSet(), e);
            }
        }

        private Path requireFile(String location, Path path) {
            Path absolute = path.toAbsolutePath().normalize();
            String problem;
            if (!Files.exists(absolute)) {
                problem = "does not exist";
            } else if (!Files.isRegularFile(absolute)) {
                problem = "is not a file";
            } else if (!Files.isReadable(absolute)) {
                problem = "cannot be read by this process";
            } else {
                return absolute;
            }
            throw StartupFailure.of(
                    "The model file " + absolute + " " + problem + " (" + property + " is '" + location + "').",
                    "Correct " + property
                            + ", or put the file there. A relative path starts at the working directory of the"
                            + " process, " + Path.of("").toAbsolutePath() + ".");
        }
    }
}
