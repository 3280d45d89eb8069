package dev.prefetch.prefetch;

import dev.prefetch.model.BlockTensor;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.model.WeightBlock.Kind;
import dev.prefetch.prefetch.Plan.Entry;
import dev.prefetch.prefetch.Plan.Forecast;
import dev.prefetch.prefetch.Plan.Residency;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.Function;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Decides which blocks stay in memory.
 *
 * <p>A model that fits is read into memory of its own, with huge pages, from which decoding was measured up to 1.18 times as
 * fast as from the mapped file; only the embedding, since only a row per token is read from it, and experts are read in
 * place, and everything where whole blocks would take more than the budget. Otherwise the embedding stays mapped; experts
 * are the first to leave, into a cache of what is asked for often; then feed-forward blocks stream, then
 * attention, then routers, last the output. Only as many blocks stream as must, spread evenly over the layers: a run of
 * them would leave the link idle during the others. Among the numbers of slots the one with the shortest simulated
 * decode sweep is taken, the smallest if they are alike, since a slot costs residency.
 */
public final class Planner {

    private static final int[] SLOTS_TO_TRY = {2, 3, 4, 5, 6, 7, 8};

    /** A larger number of slots must promise at least this much to be taken. */
    private static final double WORTH_A_SLOT = 0.995;

    private static final int MOST_PASSING_EXPERTS = 64;

    /** How unevenly a disk reads blocks: 0.13 was measured for blocks of 30 MiB and more on a quiet one. */
    private static final double TRANSFER_VARIATION = 0.2;

    private final PlanRequest request;
    private final List<WeightBlock> blocks;
    private final long[] sizes;
    private final List<List<WeightBlock>> leaving;
    private final List<WeightBlock> experts;
    private final long modelBytes;
    private final long embeddingBytes;
    private long leastBytes = Long.MAX_VALUE;

    private Planner(PlanRequest request) {
        this.request = request;
        this.blocks = request.blocks();
        this.sizes = blocks.stream()
                .mapToLong(b -> BlockLayout.of(b, request.alignment(), request.mergeGapBytes())
                        .byteSize())
                .toArray();
        this.experts = blocks.stream().filter(CostModel::isExpert).toList();
        this.modelBytes = modelBytes(blocks);
        this.embeddingBytes = touchedEmbeddingBytes();
        Set<Integer> expertLayers = experts.stream().map(WeightBlock::layer).collect(Collectors.toSet());
        this.leaving = List.of(
                select(b -> b.kind().isFeedForward() && !expertLayers.contains(b.layer())),
                select(b -> b.kind() == Kind.ATTENTION),
                select(b -> b.kind().isFeedForward() && expertLayers.contains(b.layer())),
                select(b -> b.kind() == Kind.OUTPUT));
    }

    /**
     * Makes a plan.
     *
     * @throws PlanException when the model cannot run within the budget
     */
    public static Plan plan(PlanRequest request) {
        if (request.expertsPerToken() == 0 && request.blocks().stream().anyMatch(CostModel::isExpert)) {
            throw new IllegalArgumentException("a model with experts needs expertsPerToken");
        }
        return new Planner(request).plan();
    }

    private Plan plan() {
        if (modelBytes <= request.weightsBytes() && modelBytes <= request.residentBytes()) {
            boolean own = ownBytes() <= request.weightsBytes();
            return finish(b -> own && isRead(b) ? Residency.RESIDENT : Residency.MAPPED, null);
        }
        Choice best = null;
        double bestSeconds = 0;
        for (int slots : slotsToTry()) {
            Choice choice = leastStreaming(slots);
            if (choice != null) {
                double seconds = forecast(choice, 1).sweepSeconds();
                if (best == null || seconds < bestSeconds * WORTH_A_SLOT) {
                    best = choice;
                    bestSeconds = seconds;
                }
            }
        }
        if (best == null
                && request.lookAheadBlocks() == PlanRequest.AUTO
                && request.bufferBytes() == PlanRequest.AUTO) {
            best = leastStreaming(1);
        }
        if (best == null) {
            throw doesNotFit();
        }
        Choice choice = best;
        return finish(b -> residency(b, choice), choice);
    }

    private int[] slotsToTry() {
        if (request.lookAheadBlocks() != PlanRequest.AUTO) {
            return new int[] {(int) request.lookAheadBlocks() + 1};
        }
        // With a buffer given, the number follows from its bytes; see slotsIn.
        return request.bufferBytes() != PlanRequest.AUTO ? new int[] {Integer.MAX_VALUE} : SLOTS_TO_TRY;
    }

    private PlanException doesNotFit() {
        String wishes = request.lookAheadBlocks() == PlanRequest.AUTO && request.bufferBytes() == PlanRequest.AUTO
                ? ""
                : " with the look-ahead and the buffer size asked for";
        if (leastBytes == Long.MAX_VALUE) {
            return new PlanException(
                    "A buffer of %s holds no block of the model; the largest that would stream needs %s. Give a larger buffer, or none"
                            .formatted(mib(request.bufferBytes()), mib(largest(leaving.getFirst()))));
        }
        return new PlanException(
                ("The weights need at least %s%s, and their budget is %s (the model has %s, the largest block %s). Give the"
                                + " engine more memory, shorten the context, or use a model with fewer bits per weight")
                        .formatted(
                                mib(leastBytes),
                                wishes,
                                mib(request.weightsBytes()),
                                mib(modelBytes),
                                mib(largest(blocks))));
    }

    private long largest(List<WeightBlock> among) {
        return among.stream().mapToLong(b -> sizes[b.index()]).max().orElse(0);
    }

    private static String mib(long bytes) {
        return "%.1f MiB".formatted(bytes / (double) (1 << 20));
    }

    /** The choice that streams as few blocks as the budget allows, or null when none fits. */
    private @Nullable Choice leastStreaming(int wantedSlots) {
        int most = leaving.stream().mapToInt(List::size).sum();
        for (int count = 0; count <= most; count++) {
            Set<Integer> streamed = streamed(count);
            long slotBytes = streamed.stream().mapToLong(i -> sizes[i]).max().orElse(0);
            int slots = count == 0 ? 0 : slotsIn(wantedSlots, slotBytes);
            if (count > 0 && slots == 0) {
                continue;
            }
            long resident = leaving.stream()
                    .flatMap(List::stream)
                    .filter(b -> !streamed.contains(b.index()))
                    .mapToLong(b -> sizes[b.index()])
                    .sum();
            long needed = embeddingBytes + resident + slots * slotBytes + leastExpertSlots() * expertSlotBytes();
            leastBytes = Math.min(leastBytes, needed);
            if (needed <= request.weightsBytes() && resident <= request.residentBytes()) {
                long left = Math.min(request.weightsBytes() - needed, request.residentBytes() - resident);
                return new Choice(streamed, slots, slotBytes, expertSlots(left));
            }
        }
        return null;
    }

    private int slotsIn(int wanted, long slotBytes) {
        if (request.bufferBytes() == PlanRequest.AUTO) {
            return wanted;
        }
        return (int) Math.min(Math.min(wanted, 1000), request.bufferBytes() / slotBytes);
    }

    /** The first {@code count} blocks to leave, spread evenly within their kind. */
    private Set<Integer> streamed(int count) {
        Set<Integer> streamed = new HashSet<>();
        int left = count;
        for (List<WeightBlock> kind : leaving) {
            int leave = Math.min(left, kind.size());
            for (int i = 0; i < leave; i++) {
                streamed.add(kind.get((int) ((2L * i + 1) * kind.size() / (2L * leave)))
                        .index());
            }
            left -= leave;
        }
        return streamed;
    }

    private long expertSlotBytes() {
        return largest(experts);
    }

    /** Room for the experts of one token on their way and of one more in use. */
    private int leastExpertSlots() {
        return Math.min(experts.size(), 2 * request.expertsPerToken());
    }

    private int expertSlots(long leftBytes) {
        if (experts.isEmpty()) {
            return 0;
        }
        long cache = Math.min(leftBytes, request.expertCacheBytes());
        return (int) Math.min(experts.size(), leastExpertSlots() + cache / expertSlotBytes());
    }

    private int passing(int expertSlots) {
        return Math.min(expertSlots, Math.max(leastExpertSlots(), Math.min(expertSlots / 8, MOST_PASSING_EXPERTS)));
    }

    /** What a model that fits takes when it is read into memory of its own. */
    private long ownBytes() {
        return embeddingBytes
                + blocks.stream()
                        .filter(b -> b.kind() != Kind.EMBEDDING)
                        .mapToLong(b -> sizes[b.index()])
                        .sum();
    }

    /** Whether a model that fits reads that block ahead. An expert would be in huge pages for the most part unused. */
    private static boolean isRead(WeightBlock block) {
        return block.kind() != Kind.EMBEDDING && block.kind() != Kind.EXPERT;
    }

    /**
     * @param streaming what leaves memory, or null when nothing does
     */
    private Plan finish(Function<WeightBlock, Residency> residencies, @Nullable Choice streaming) {
        Choice choice = streaming == null ? new Choice(Set.of(), 0, 0, 0) : streaming;
        List<Entry> entries = new ArrayList<>();
        for (WeightBlock block : blocks) {
            Residency residency = residencies.apply(block);
            entries.add(new Entry(block, residency, residency == Residency.RESIDENT ? sizes[block.index()] : 0));
        }
        return new Plan(
                entries,
                request.weightsBytes(),
                modelBytes,
                choice.slots,
                choice.slotBytes,
                Math.max(0, choice.slots - 1),
                choice.expertSlots,
                choice.expertSlots == 0 ? 0 : expertSlotBytes(),
                passing(choice.expertSlots),
                request.costs(),
                streaming == null ? residentForecast(1) : forecast(choice, 1),
                streaming == null
                        ? residentForecast(request.ubatchTokens())
                        : forecast(choice, request.ubatchTokens()));
    }

    private static Residency residency(WeightBlock block, Choice choice) {
        return switch (block.kind()) {
            case EMBEDDING -> Residency.MAPPED;
            case EXPERT -> Residency.ON_DEMAND;
            case ATTENTION, FEED_FORWARD, FEED_FORWARD_UP, FEED_FORWARD_DOWN, OUTPUT ->
                choice.streamed.contains(block.index()) ? Residency.STREAMED : Residency.RESIDENT;
        };
    }

    private Forecast residentForecast(int tokens) {
        return forecast(new Choice(Set.of(), 0, 0, experts.size()), tokens);
    }

    private Forecast forecast(Choice choice, int tokens) {
        CostModel costs = request.costs();
        double[] compute = new double[blocks.size()];
        double[] transfer = new double[blocks.size()];
        for (WeightBlock block : blocks) {
            if (block.kind() != Kind.EXPERT) {
                compute[block.index()] = costs.computeSeconds(block, tokens);
            }
            if (choice.streamed.contains(block.index())) {
                transfer[block.index()] = costs.transferSeconds(sizes[block.index()]);
            }
        }
        double computeSum = sum(compute);
        double transferSum = sum(transfer);
        for (List<WeightBlock> layer : experts.stream()
                .collect(Collectors.groupingBy(WeightBlock::layer, TreeMap::new, Collectors.toList()))
                .values()) {
            WeightBlock first = layer.getFirst();
            double used = CostModel.expectedExperts(layer.size(), request.expertsPerToken(), tokens);
            double computing = costs.expertSeconds(first, layer.size(), used, request.expertsPerToken(), tokens);
            double reading = costs.transferSeconds(used * (1 - hitRate(choice, tokens)) * sizes[first.index()]);
            // The router speaks just before: only the layer's own experts can hide the reading of one another.
            compute[first.index()] = Math.max(computing, reading);
            computeSum += computing;
            transferSum += reading;
        }
        double sweep = PipelineModel.sweepSeconds(compute, transfer, Math.max(1, choice.slots), TRANSFER_VARIATION);
        return new Forecast(tokens, computeSum, transferSum, sweep);
    }

    private double hitRate(Choice choice, int tokens) {
        if (choice.expertSlots >= experts.size()) {
            return 1;
        }
        double cached = (double) (choice.expertSlots - passing(choice.expertSlots)) / experts.size();
        return tokens == 1 ? request.costs().hitRate(cached) : cached;
    }

    private static double sum(double[] values) {
        double sum = 0;
        for (double value : values) {
            sum += value;
        }
        return sum;
    }

    private List<WeightBlock> select(Predicate<WeightBlock> condition) {
        return blocks.stream().filter(condition).toList();
    }

    /** What a sweep touches of the embedding: a row per token, in whole pages. */
    private long touchedEmbeddingBytes() {
        return blocks.stream()
                .filter(b -> b.kind() == Kind.EMBEDDING)
                .flatMap(b -> b.tensors().stream())
                .mapToLong(t -> Math.min(
                        t.byteSize(), request.ubatchTokens() * (t.byteSize() / t.rows() + 2L * request.alignment())))
                .sum();
    }

    /** Bytes of all tensors; one that serves as embedding and output is one. */
    public static long modelBytes(List<WeightBlock> blocks) {
        Stream<BlockTensor> tensors = blocks.stream()
                .flatMap(b -> b.tensors().stream())
                .sorted(Comparator.comparingLong(BlockTensor::fileOffset));
        long bytes = 0;
        long end = 0;
        for (BlockTensor tensor : (Iterable<BlockTensor>) tensors::iterator) {
            long from = Math.max(end, tensor.fileOffset());
            end = Math.max(end, tensor.fileOffset() + tensor.byteSize());
            bytes += Math.max(0, end - from);
        }
        return bytes;
    }

    /**
     * @param streamed indices of the blocks that stream
     */
    private record Choice(Set<Integer> streamed, int slots, long slotBytes, int expertSlots) {}
}
