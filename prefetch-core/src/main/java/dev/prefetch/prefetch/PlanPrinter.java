package dev.prefetch.prefetch;

import dev.prefetch.model.WeightBlock;
import dev.prefetch.model.WeightBlock.Kind;
import dev.prefetch.prefetch.Plan.Entry;
import dev.prefetch.prefetch.Plan.Forecast;
import dev.prefetch.prefetch.Plan.Residency;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** Writes plans as a table, as JSON and as one line. */
final class PlanPrinter {

    private static final double MIB = 1 << 20;

    private PlanPrinter() {}

    static String table(Plan plan) {
        StringBuilder out = new StringBuilder();
        line(out, "%-16s %12s  %-9s  %s%n", "block", "MiB", "residency", "rests in");
        for (Row row : rows(plan)) {
            line(out, "%-16s %12.2f  %-9s  %s%n", row.label, row.bytes / MIB, word(row.residency), row.restsIn);
        }
        out.append(System.lineSeparator());
        for (Residency residency : Residency.values()) {
            if (plan.count(residency) > 0) {
                line(
                        out,
                        "%-9s %5d blocks, %.1f MiB%n",
                        word(residency),
                        plan.count(residency),
                        plan.bytes(residency) / MIB);
            }
        }
        line(
                out,
                "slots     %d x %.1f MiB, look-ahead %d%n",
                plan.slots(),
                plan.slotBytes() / MIB,
                plan.lookAheadBlocks());
        if (plan.expertSlots() > 0) {
            line(out, "experts   %d places x %.1f MiB%n", plan.expertSlots(), plan.expertSlotBytes() / MIB);
        }
        line(
                out,
                "memory    %.1f of %.1f MiB for a model of %.1f MiB%n",
                plan.allocatedBytes() / MIB,
                plan.weightsBudgetBytes() / MIB,
                plan.modelBytes() / MIB);
        line(out, "rates     %s%n", plan.costs().describe());
        forecast(out, "decode", plan.decode());
        forecast(out, "prefill", plan.prefill());
        return out.toString();
    }

    private static void forecast(StringBuilder out, String name, Forecast forecast) {
        line(
                out,
                "%-9s %.2f tokens/s expected (C %.1f ms, T %.1f ms, sweep %.1f ms of %d tokens)%n",
                name,
                forecast.tokensPerSecond(),
                forecast.computeSeconds() * 1e3,
                forecast.transferSeconds() * 1e3,
                forecast.sweepSeconds() * 1e3,
                forecast.tokens());
    }

    /** Experts of a layer with one residency share a row; thousands of them would hide the rest. */
    private static List<Row> rows(Plan plan) {
        List<Row> rows = new ArrayList<>();
        Row open = null;
        for (Entry entry : plan.entries()) {
            WeightBlock block = entry.block();
            boolean expert = block.kind() == Kind.EXPERT;
            if (open != null && expert && open.layer == block.layer() && open.residency == entry.residency()) {
                open.bytes += block.byteSize();
                open.last = block.expert();
                open.label = "L%02d.e%d-%d".formatted(block.layer(), open.first, open.last);
                continue;
            }
            Row row = new Row(block.label(), entry, block.byteSize());
            rows.add(row);
            open = expert ? row : null;
        }
        return rows;
    }

    static String summary(Plan plan) {
        if (plan.allResident()) {
            return String.format(
                    Locale.ROOT,
                    "all %d blocks (%.1f MiB) in memory, %.1f MiB of it copied",
                    plan.entries().size(),
                    plan.modelBytes() / MIB,
                    plan.allocatedBytes() / MIB);
        }
        return String.format(
                Locale.ROOT,
                "%.1f of %.1f MiB in memory, %d blocks stream through %d slots of %.1f MiB%s;"
                        + " expected decode %.2f tokens/s, prefill %.2f tokens/s",
                (plan.bytes(Residency.MAPPED) + plan.bytes(Residency.RESIDENT)) / MIB,
                plan.modelBytes() / MIB,
                plan.count(Residency.STREAMED),
                plan.slots(),
                plan.slotBytes() / MIB,
                plan.expertSlots() == 0
                        ? ""
                        : ", %d experts share %d places".formatted(plan.count(Residency.ON_DEMAND), plan.expertSlots()),
                plan.decode().tokensPerSecond(),
                plan.prefill().tokensPerSecond());
    }

    static String json(Plan plan) {
        JsonWriter json = new JsonWriter().beginObject();
        json.name("weightsBudgetBytes").value(plan.weightsBudgetBytes());
        json.name("modelBytes").value(plan.modelBytes());
        json.name("allocatedBytes").value(plan.allocatedBytes());
        json.name("slots").value(plan.slots());
        json.name("slotBytes").value(plan.slotBytes());
        json.name("lookAheadBlocks").value(plan.lookAheadBlocks());
        json.name("expertSlots").value(plan.expertSlots());
        json.name("expertSlotBytes").value(plan.expertSlotBytes());
        json.name("passingExpertSlots").value(plan.passingExpertSlots());
        json.name("bytes").beginObject();
        for (Residency residency : Residency.values()) {
            json.name(word(residency)).value(plan.bytes(residency));
        }
        json.endObject();
        json.name("diskBytesPerSecond").value(plan.costs().diskBytesPerSecond());
        json.name("weightBytesPerSecond").value(plan.costs().memoryBytesPerSecond());
        json.name("flopsPerSecond").value(plan.costs().flopsPerSecond());
        json.name("ratesMeasured").value(plan.costs().measured());
        forecast(json.name("decode"), plan.decode());
        forecast(json.name("prefill"), plan.prefill());
        json.name("blocks").beginArray();
        for (Entry entry : plan.entries()) {
            json.beginObject().name("block").value(entry.block().label());
            json.name("bytes").value(entry.block().byteSize());
            json.name("residency").value(word(entry.residency()));
            json.name("tier").value(word(entry.restsIn()));
            json.name("decodesOnHost").value(entry.decodesOnHost());
            json.endObject();
        }
        return json.endArray().endObject().toString();
    }

    private static void forecast(JsonWriter json, Forecast forecast) {
        json.beginObject().name("tokens").value(forecast.tokens());
        json.name("tokensPerSecond").value(forecast.tokensPerSecond());
        json.name("computeSeconds").value(forecast.computeSeconds());
        json.name("transferSeconds").value(forecast.transferSeconds());
        json.name("sweepSeconds").value(forecast.sweepSeconds());
        json.name("rooflineFraction").value(forecast.rooflineFraction()).endObject();
    }

    private static String word(Enum<?> value) {
        return value.name().toLowerCase(Locale.ROOT).replace('_', ' ');
    }

    private static void line(StringBuilder out, String format, Object... values) {
        out.append(String.format(Locale.ROOT, format, values));
    }

    private static final class Row {

        final Residency residency;
        final String restsIn;
        final int layer;
        final int first;
        int last;
        long bytes;
        String label;

        Row(String label, Entry entry, long bytes) {
            this.label = label;
            this.residency = entry.residency();
            this.restsIn = word(entry.restsIn()) + (entry.decodesOnHost() ? ", decodes there" : "");
            this.layer = entry.block().layer();
            this.first = entry.block().expert();
            this.last = first;
            this.bytes = bytes;
        }
    }
}
