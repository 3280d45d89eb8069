package dev.prefetch.sample.cli;

import dev.prefetch.api.ModelCaches;
import dev.prefetch.api.ModelReference;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.Optional;

/**
 * What {@code --model} names: a file, or a model that another tool has downloaded, by the name it is published under.
 *
 * @param text as it was given
 */
record ModelLocation(String text) {

    /** What help texts say of it. */
    static final String DESCRIPTION =
            "GGUF file, or the name of a downloaded model, such as hf:OWNER/REPOSITORY:Q4_K_M or ollama:NAME:TAG";

    /**
     * The reference; empty when the text must be a path.
     *
     * @throws CommandFailedException when it begins like a reference and is none
     */
    Optional<ModelReference> reference() {
        try {
            return ModelReference.parse(text);
        } catch (IllegalArgumentException e) {
            throw new CommandFailedException(e.getMessage(), e);
        }
    }

    /**
     * The file. A path is not looked at; what opens it says when it is missing.
     *
     * @throws dev.prefetch.api.ModelNotFoundException when the reference is in none of the caches, with the remedy
     * @throws CommandFailedException when the text is neither a reference nor a path
     */
    Path file(ModelCaches caches) {
        return reference().map(caches::find).orElseGet(this::path);
    }

    /** The text as a path. */
    Path path() {
        try {
            return Path.of(text);
        } catch (InvalidPathException e) {
            throw new CommandFailedException("'" + text + "' is not a valid path: " + e.getReason(), e);
        }
    }
}
