package dev.prefetch.spring.actuate;

import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.spring.LoadingEngine;
import dev.prefetch.spring.PrefetchEngines;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.springframework.boot.actuate.endpoint.Access;
import org.springframework.boot.actuate.endpoint.InvalidEndpointRequestException;
import org.springframework.boot.actuate.endpoint.annotation.Endpoint;
import org.springframework.boot.actuate.endpoint.annotation.ReadOperation;
import org.springframework.boot.actuate.endpoint.annotation.Selector;
import org.springframework.boot.actuate.endpoint.annotation.WriteOperation;
import tools.jackson.databind.json.JsonMapper;

/**
 * The {@code prefetch} endpoint: what runs, how it is planned, what moved and how well that was hidden. Read-only unless
 * {@code management.endpoint.prefetch.access} is {@code unrestricted}; then the look-ahead can be changed. Where there are
 * several engines, the primary one is meant unless another one is named.
 */
@Endpoint(id = "prefetch", defaultAccess = Access.READ_ONLY)
public final class PrefetchEndpoint {

    private static final String JSON = "application/json";

    private static final JsonMapper MAPPER = JsonMapper.builder().build();

    private final PrefetchEngines engines;

    public PrefetchEndpoint(PrefetchEngines engines) {
        this.engines = engines;
    }

    /** Everything about the primary engine but the blocks and the trace, and the names of all engines. */
    @ReadOperation
    public Map<String, Object> engine() {
        Map<String, Object> all = new LinkedHashMap<>();
        all.put("engine", engines.primary());
        all.put("engines", engines.byName().keySet());
        all.putAll(new EngineReport(engines.engine()).everything());
        return all;
    }

    /**
     * A part of its own.
     *
     * @param part {@code plan}: the plan with a row for each block; {@code trace}: the last sweeps as a Chrome trace, for
     *     Perfetto; or the name of an engine, for everything about it
     * @return JSON; null, which becomes 404, for anything else, when no trace is recorded, and while the engine is being
     *     loaded
     */
    @ReadOperation(produces = JSON)
    public @Nullable String part(@Selector String part) {
        PrefetchEngine named = engines.engine(part);
        return named != null
                ? MAPPER.writeValueAsString(new EngineReport(named).everything())
                : part(engines.engine(), part);
    }

    /**
     * A part of one of several engines.
     *
     * @param engine its name
     * @param part {@code plan} or {@code trace}
     * @return as {@link #part(String)}
     */
    @ReadOperation(produces = JSON)
    public @Nullable String partOf(@Selector String engine, @Selector String part) {
        PrefetchEngine named = engines.engine(engine);
        return named == null ? null : part(named, part);
    }

    private static @Nullable String part(PrefetchEngine engine, String part) {
        if (!LoadingEngine.isLoaded(engine)) {
            return null;
        }
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
     * @param engine name of one of several engines; null for the primary one
     * @throws InvalidEndpointRequestException, which becomes 400, when it is neither, there is no such engine, or the engine
     *     refuses it
     */
    @WriteOperation
    public Map<String, Object> changeLookAhead(String lookAheadBlocks, @Nullable String engine) {
        PrefetchEngine changed = engine == null ? engines.engine() : engines.engine(engine);
        if (changed == null) {
            throw new InvalidEndpointRequestException(
                    "there is no engine '" + engine + "', only "
                            + engines.byName().keySet(),
                    "no such engine");
        }
        try {
            if (!LoadingEngine.isLoaded(changed)) {
                throw new IllegalStateException("the engine is not loaded");
            }
            if (lookAheadBlocks.strip().equalsIgnoreCase("auto")) {
                changed.chooseLookAhead();
            } else {
                changed.setLookAheadBlocks(Integer.parseInt(lookAheadBlocks.strip()));
            }
        } catch (NumberFormatException e) {
            throw refusal(lookAheadBlocks, "it must be 'auto' or a number of blocks", e);
        } catch (IllegalArgumentException | IllegalStateException e) {
            throw refusal(lookAheadBlocks, String.valueOf(e.getMessage()), e);
        }
        return new EngineReport(changed).load();
    }

    private static InvalidEndpointRequestException refusal(String wanted, String reason, RuntimeException cause) {
        return new InvalidEndpointRequestException(
                "lookAheadBlocks cannot be " + wanted + ": " + reason, reason, cause);
    }
}
