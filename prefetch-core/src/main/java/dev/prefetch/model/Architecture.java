package dev.prefetch.model;

import dev.prefetch.backend.Rope;
import java.util.Arrays;
import java.util.Optional;
import java.util.stream.Collectors;

/**
 * What distinguishes the supported architectures beyond their hyper-parameters. Optional parts (projection biases, query
 * and key norms, tied output, experts) are recognised by the tensors in the file.
 */
public enum Architecture {
    LLAMA("llama", Rope.Layout.ADJACENT, false),
    QWEN2("qwen2", Rope.Layout.HALVES, false),
    QWEN3("qwen3", Rope.Layout.HALVES, true),
    QWEN3_MOE("qwen3moe", Rope.Layout.HALVES, true);

    private final String id;
    private final Rope.Layout ropeLayout;
    private final boolean queryKeyNorm;

    Architecture(String id, Rope.Layout ropeLayout, boolean queryKeyNorm) {
        this.id = id;
        this.ropeLayout = ropeLayout;
        this.queryKeyNorm = queryKeyNorm;
    }

    /** Value of {@code general.architecture}, and the prefix of the file's hyper-parameter keys. */
    public String id() {
        return id;
    }

    /** Pairing of the rotary embedding. */
    public Rope.Layout ropeLayout() {
        return ropeLayout;
    }

    /** Whether each head's query and key are normalised before rotation. */
    public boolean queryKeyNorm() {
        return queryKeyNorm;
    }

    /** The architecture with that identifier. */
    public static Optional<Architecture> find(String id) {
        return Arrays.stream(values()).filter(a -> a.id.equals(id)).findFirst();
    }

    /** Identifiers of all supported architectures, for messages. */
    public static String supported() {
        return Arrays.stream(values()).map(Architecture::id).collect(Collectors.joining(", "));
    }
}
