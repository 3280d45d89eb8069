package dev.prefetch.prefetch;

import dev.prefetch.prefetch.TraceRecorder.Lane;
import dev.prefetch.prefetch.TraceRecorder.Span;
import dev.prefetch.prefetch.TraceRecorder.Sweep;
import java.util.List;
import java.util.Locale;

/**
 * Writes recorded sweeps in the Trace Event Format, which Perfetto and chrome://tracing show: one lane each for the
 * disk, for compute, for waiting and for the link to a device, and a mark where a sweep starts.
 *
 * @see <a href="https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU">Trace Event Format</a>
 */
final class ChromeTrace {

    private static final int PROCESS = 1;

    private ChromeTrace() {}

    static String write(List<Sweep> sweeps) {
        long origin = sweeps.isEmpty() ? 0 : sweeps.getFirst().startNanos();
        for (Sweep sweep : sweeps) {
            for (Span span : sweep.spans()) {
                origin = Math.min(origin, span.startNanos());
            }
        }
        JsonWriter json = new JsonWriter().beginObject();
        json.name("displayTimeUnit").value("ms").name("traceEvents").beginArray();
        for (Lane lane : Lane.values()) {
            // Only where there is a device does anything cross its link.
            if (lane != Lane.LINK || uses(sweeps, lane)) {
                nameLane(json, lane);
            }
        }
        for (Sweep sweep : sweeps) {
            writeMark(json, sweep, origin);
            for (Span span : sweep.spans()) {
                writeSpan(json, span, origin);
            }
        }
        return json.endArray().endObject().toString();
    }

    private static boolean uses(List<Sweep> sweeps, Lane lane) {
        return sweeps.stream().anyMatch(sweep -> sweep.spans().stream().anyMatch(span -> span.lane() == lane));
    }

    private static void nameLane(JsonWriter json, Lane lane) {
        json.beginObject().name("name").value("thread_name").name("ph").value("M");
        json.name("pid").value(PROCESS).name("tid").value(lane.ordinal() + 1L);
        json.name("args").beginObject().name("name").value(lane.name().toLowerCase(Locale.ROOT));
        json.endObject().endObject();
    }

    private static void writeMark(JsonWriter json, Sweep sweep, long origin) {
        json.beginObject()
                .name("name")
                .value("sweep " + sweep.number())
                .name("ph")
                .value("i");
        json.name("s").value("p").name("pid").value(PROCESS).name("tid").value(Lane.COMPUTE.ordinal() + 1L);
        json.name("ts").value(micros(sweep.startNanos() - origin));
        json.name("args").beginObject();
        json.name("regime").value(sweep.regime().name()).name("tokens").value(sweep.tokens());
        json.name("nanos").value(sweep.endNanos() - sweep.startNanos());
        json.endObject().endObject();
    }

    private static void writeSpan(JsonWriter json, Span span, long origin) {
        json.beginObject().name("name").value(span.name()).name("ph").value("X");
        json.name("cat").value(span.lane().name().toLowerCase(Locale.ROOT));
        json.name("pid").value(PROCESS).name("tid").value(span.lane().ordinal() + 1L);
        json.name("ts").value(micros(span.startNanos() - origin));
        json.name("dur").value(micros(span.endNanos() - span.startNanos()));
        json.name("args").beginObject();
        if (span.bytes() > 0) {
            json.name("bytes").value(span.bytes());
        }
        json.endObject().endObject();
    }

    /** Microseconds with the nanoseconds behind the point: six digits in all would not tell neighbours apart. */
    private static JsonWriter.Decimal micros(long nanos) {
        return new JsonWriter.Decimal(nanos, 3);
    }
}
