package dev.prefetch.api;

import java.util.Objects;

/**
 * A tool the model may call.
 *
 * @param name unique name
 * @param description what it does, for the model
 * @param parametersSchema JSON schema of its arguments, as text
 */
public record ToolDefinition(String name, String description, String parametersSchema) {

    public ToolDefinition {
        Objects.requireNonNull(name, "name");
        Objects.requireNonNull(description, "description");
        Objects.requireNonNull(parametersSchema, "parametersSchema");
    }
}
