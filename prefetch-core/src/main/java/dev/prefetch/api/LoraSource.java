package dev.prefetch.api;

import java.nio.file.Path;
import java.util.Objects;

/**
 * A LoRA adapter to open with a model.
 *
 * @param path the adapter's GGUF file
 * @param scale factor on what it changes, on top of the adapter's own; 0 for nothing
 */
public record LoraSource(Path path, float scale) {

    /** @throws IllegalArgumentException when the scale is not a finite number */
    public LoraSource {
        Objects.requireNonNull(path, "path");
        if (!Float.isFinite(scale)) {
            throw new IllegalArgumentException("scale must be a finite number but was " + scale);
        }
    }
}
