package dev.prefetch.prefetch;

import dev.prefetch.backend.Tier;
import dev.prefetch.model.WeightBlock;
import java.util.List;

/**
 * Where every block of a model lies and how it reaches compute.
 *
 * @param entries one per block, in the static order
 * @param weightsBudgetBytes what resident blocks and slots may use
 * @param modelBytes bytes of all tensors, each counted once
 * @param slots slots for streamed blocks; 0 when none stream
 * @param slotBytes bytes per slot
 * @param lookAheadBlocks streamed blocks on their way while compute holds one
 * @param expertSlots places in the expert cache; 0 when no expert is read on demand
 * @param expertSlotBytes bytes per place
 * @param passingExpertSlots places that experts pass through without being kept, of {@code expertSlots}
 * @param costs what the forecasts rest on
 * @param decode what a sweep of one token is expected to take
 * @param prefill what a sweep of a full ubatch is expected to take
 */
public record Plan(
        List<Entry> entries,
        long weightsBudgetBytes,
        long modelBytes,
        int slots,
        long slotBytes,
        int lookAheadBlocks,
        int expertSlots,
        long expertSlotBytes,
        int passingExpertSlots,
        CostModel costs,
        Forecast decode,
        Forecast prefill) {

    public Plan {
        entries = List.copyOf(entries);
        for (int i = 0; i < entries.size(); i++) {
            if (entries.get(i).block().index() != i) {
                throw new IllegalArgumentException(
                        "entry " + i + " is of block " + entries.get(i).block().index());
            }
        }
    }

    /** Whether nothing streams. */
    public boolean allResident() {
        return slots == 0 && expertSlots == 0;
    }

    /** Bytes of blocks with a residency, as in the file; a tensor that serves in two of them counts once. */
    public long bytes(Residency residency) {
        return Planner.modelBytes(entries.stream()
                .filter(e -> e.residency() == residency)
                .map(Entry::block)
                .toList());
    }

    /** Memory the plan allocates: resident blocks, slots and expert cache. What is mapped is not allocated. */
    public long allocatedBytes() {
        return entries.stream().mapToLong(Entry::memoryBytes).sum() + slots * slotBytes + expertSlots * expertSlotBytes;
    }

    /** Blocks with a residency. */
    public long count(Residency residency) {
        return entries.stream().filter(e -> e.residency() == residency).count();
    }

    /** The plan as a table, a line per block and a summary. */
    public String toTable() {
        return PlanPrinter.table(this);
    }

    /** The plan as JSON. */
    public String toJson() {
        return PlanPrinter.json(this);
    }

    /** The plan in one line, for the log. */
    public String summary() {
        return PlanPrinter.summary(this);
    }

    /** Whether a device with memory of its own computes. */
    public boolean accelerated() {
        return entries.stream()
                .anyMatch(e -> e.restsIn() == Tier.DEVICE
                        || e.restsIn() != e.residency().tier());
    }

    /** How a block reaches compute. */
    public enum Residency {
        /** Read in place through the mapped file; the page cache holds it. */
        MAPPED(Tier.HOST),
        /** Read once into memory of its own. */
        RESIDENT(Tier.HOST),
        /** Read through slots, in every sweep. */
        STREAMED(Tier.DISK),
        /** An expert: read when the router asks for it, and kept while it is asked for often. */
        ON_DEMAND(Tier.DISK);

        private final Tier tier;

        Residency(Tier tier) {
            this.tier = tier;
        }

        /** The tier it rests in, where the host computes. */
        public Tier tier() {
            return tier;
        }
    }

    /**
     * @param memoryBytes memory of its own; 0 for blocks that are mapped or pass through slots
     * @param restsIn the tier it rests in
     * @param decodesOnHost whether the host computes it for decode rows, from where it rests, instead of a device
     */
    public record Entry(WeightBlock block, Residency residency, long memoryBytes, Tier restsIn, boolean decodesOnHost) {

        /** Of a plan without a device: everything is computed by the host. */
        public Entry(WeightBlock block, Residency residency, long memoryBytes) {
            this(block, residency, memoryBytes, residency.tier(), false);
        }
    }

    /**
     * What the cost model expects of a sweep.
     *
     * @param tokens tokens of the sweep
     * @param computeSeconds C: what compute would take alone
     * @param transferSeconds T: what the link would take alone
     * @param sweepSeconds what both together take, by simulation
     */
    public record Forecast(int tokens, double computeSeconds, double transferSeconds, double sweepSeconds) {

        /** Tokens per second of sweeps like this; 0 when they take no time. */
        public double tokensPerSecond() {
            return sweepSeconds <= 0 ? 0 : tokens / sweepSeconds;
        }

        /** {@code max(C, T) / sweep}. */
        public double rooflineFraction() {
            return sweepSeconds <= 0 ? 1 : Math.max(computeSeconds, transferSeconds) / sweepSeconds;
        }
    }
}
