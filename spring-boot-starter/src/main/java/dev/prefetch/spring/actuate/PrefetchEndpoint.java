package dev.prefetch.spring.actuate;

import dev.prefetch.api.PrefetchEngine;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.springframework.boot.actuate.endpoint.Access;
import org.springframework.boot.actuate.endpoint.InvalidEndpointRequestException;
import org.springframework.boot.actuate.endpoint.annotation.Endpoint;
import org.springframework.boot.actuate.endpoint.annotation.ReadOperation;
import org.springframework.boot.actuate.endpoint.annotation.Selector;
import org.springframework.boot.actuate.endpoint.annotation.WriteOperation;

/**
 * The {@code prefetch} endpoint: what runs, how it is planned, what moved and how well that was hidden. Read-only unless
 * {@code management.endpoint.prefetch.access} is {@code unrestricted}; then the look-ahead can be changed.
 */
@Endpoint(id = "prefetch", defaultAccess = Access.READ_ONLY)
public final class PrefetchEndpoint {

    private static final String JSON = "application/json";

    private final PrefetchEngine engine;
    private final EngineReport report;

    public PrefetchEndpoint(PrefetchEngine engine) {
        this.engine = engine;
        this.report = new EngineReport(engine);
    }

    /** Everything but the blocks and the trace. */
    @ReadOperation
    public Map<String, Object> engine() {
        Map<String, Object> all = new LinkedHashMap<>();
        all.put("model", report.model());
        all.put("backend", report.backend());
        all.put("load", report.load());
        all.put("memory", report.memory());
        all.put("plan", report.plan());
        all.put("statistics", report.statistics());
        all.put("slowPaths", report.slowPaths());
        return all;
    }

    /**
     * A part of its own.
     *
     * @param part {@code plan}: the plan with a row for each block; {@code trace}: the last sweeps as a Chrome trace, for
     *     Perfetto
     * @return JSON; null, which becomes 404, for another part, or when no trace is recorded
     */
    @ReadOperation(produces = JSON)
    public @Nullable String part(@Selector String part) {
        return switch (part) {
            case "plan" -> engine.plan().toJson();
            case "trace" -> emptyToNull(engine.chromeTrace());
            default -> null;
        };
    }

    private static @Nullable String emptyToNull(String text) {
        return text.isEmpty() ? null : text;
    }

    /**
     * Changes the look-ahead from now on.
     *
     * @param lookAheadBlocks a number of blocks, which stays until it is changed again, or {@code auto} to let the engine
     *     measure and choose
     * @throws InvalidEndpointRequestException, which becomes 400, when it is neither or the engine refuses it
     */
    @WriteOperation
    public Map<String, Object> changeLookAhead(String lookAheadBlocks) {
        try {
            if (lookAheadBlocks.strip().equalsIgnoreCase("auto")) {
                engine.chooseLookAhead();
            } else {
                engine.setLookAheadBlocks(Integer.parseInt(lookAheadBlocks.strip()));
            }
        } catch (NumberFormatException e) {
            throw refusal(lookAheadBlocks, "it must be 'auto' or a number of blocks", e);
        } catch (IllegalArgumentException | IllegalStateException e) {
            throw refusal(lookAheadBlocks, String.valueOf(e.getMessage()), e);
        }
        return report.load();
    }

    private static InvalidEndpointRequestException refusal(String wanted, String reason, RuntimeException cause) {
        return new InvalidEndpointRequestException(
                "lookAheadBlocks cannot be " + wanted + ": " + reason, reason, cause);
    }
}
