package dev.prefetch.prefetch;

import dev.prefetch.backend.Tier;
import dev.prefetch.model.BlockTensor;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.model.WeightBlock.Kind;
import dev.prefetch.prefetch.Plan.Entry;
import dev.prefetch.prefetch.Plan.Forecast;
import dev.prefetch.prefetch.Plan.Residency;
import dev.prefetch.prefetch.PlanRequest.Accelerator;
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
 *
 * <p>Where a device with memory of its own computes, the same holds for its memory, but the embedding stays with the host,
 * and there is a second way: the host computes for decode rows, where they rest, the feed-forward networks that do not fit,
 * whole layers of them, and they stream for prompts alone. Both ways are planned, and the shorter decode sweep decides.
 */
public final class Planner {

    private static final int[] SLOTS_TO_TRY = {2, 3, 4, 5, 6, 7, 8};

    /** A larger number of slots must promise at least this much to be taken. */
    private static final double WORTH_A_SLOT = 0.995;

    private static final int MOST_PASSING_EXPERTS = 64;

    /** What it costs to take a few rows from the device to the host, or back. */
    private static final double CROSSING_SECONDS = 30e-6;

    /** How unevenly a disk reads blocks: 0.13 was measured for blocks of 30 MiB and more on a quiet one. */
    private static final double TRANSFER_VARIATION = 0.2;

    private final PlanRequest request;
    private final List<WeightBlock> blocks;
    private final long[] sizes;
    private final @Nullable Accelerator accelerator;
    private final List<WeightBlock> experts;
    private final long modelBytes;
    private final long embeddingBytes;
    /** What a model that fits takes when it is read into memory of its own. */
    private final long ownBytes;

    private long leastBytes = Long.MAX_VALUE;

    private Planner(PlanRequest request) {
        this.request = request;
        this.blocks = request.blocks();
        this.sizes = blocks.stream()
                .mapToLong(b -> BlockLayout.of(b, request.alignment(), request.mergeGapBytes())
                        .byteSize())
                .toArray();
        this.accelerator = request.accelerator();
        this.experts = blocks.stream().filter(CostModel::isExpert).toList();
        this.modelBytes = modelBytes(blocks);
        this.embeddingBytes = accelerator == null ? touchedEmbeddingBytes() : 0;
        this.ownBytes = embeddingBytes
                + blocks.stream()
                        .filter(b -> b.kind() != Kind.EMBEDDING)
                        .mapToLong(b -> sizes[b.index()])
                        .sum();
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
        if (allFits()) {
            return finish(new Choice(Way.STREAM, Set.of(), Set.of(), Set.of(), 0, 0, 0), this::residencyOfWhatFits);
        }
        Choice best = null;
        double bestSeconds = 0;
        for (Way way : ways()) {
            for (int slots : slotsToTry()) {
                Choice choice = leastStreaming(way, slots);
                if (choice != null) {
                    double seconds = forecast(choice, 1).sweepSeconds();
                    if (best == null || seconds < bestSeconds * WORTH_A_SLOT) {
                        best = choice;
                        bestSeconds = seconds;
                    }
                }
            }
        }
        if (best == null
                && request.lookAheadBlocks() == PlanRequest.AUTO
                && request.bufferBytes() == PlanRequest.AUTO) {
            best = leastStreaming(Way.STREAM, 1);
        }
        if (best == null) {
            throw doesNotFit();
        }
        Choice choice = best;
        return finish(choice, block -> residency(block, choice));
    }

    private boolean allFits() {
        long bytes = accelerator == null ? modelBytes : ownBytes;
        return bytes <= request.weightsBytes() && bytes <= request.residentBytes();
    }

    /** What becomes of decode rows in blocks that have left. */
    private enum Way {
        /** They wait for the blocks to come. */
        STREAM,
        /** The host computes feed-forward networks for them. */
        HOST
    }

    private Way[] ways() {
        return accelerator != null && accelerator.mayDecode() ? Way.values() : new Way[] {Way.STREAM};
    }

    /** What leaves, one unit after the other, kind by kind. */
    private List<List<Unit>> leaving(Way way) {
        Set<Integer> expertLayers = experts.stream().map(WeightBlock::layer).collect(Collectors.toSet());
        List<Unit> feedForward = way == Way.STREAM
                ? single(b -> b.kind().isFeedForward() && !expertLayers.contains(b.layer()))
                : layers(b -> b.kind().isFeedForward() && !expertLayers.contains(b.layer()));
        List<List<Unit>> leaving = new ArrayList<>();
        if (way == Way.HOST) {
            leaving.add(layers(CostModel::isExpert));
        }
        leaving.add(feedForward);
        leaving.add(single(b -> b.kind() == Kind.ATTENTION));
        leaving.add(single(b -> b.kind().isFeedForward() && expertLayers.contains(b.layer())));
        leaving.add(single(b -> b.kind() == Kind.OUTPUT));
        return leaving;
    }

    private List<Unit> single(Predicate<WeightBlock> condition) {
        return blocks.stream().filter(condition).map(b -> new Unit(List.of(b))).toList();
    }

    private List<Unit> layers(Predicate<WeightBlock> condition) {
        return blocks.stream()
                .filter(condition)
                .collect(Collectors.groupingBy(WeightBlock::layer, TreeMap::new, Collectors.toList()))
                .values()
                .stream()
                .map(Unit::new)
                .toList();
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
                            .formatted(
                                    mib(request.bufferBytes()),
                                    mib(largest(leaving(Way.STREAM).getFirst().stream()
                                            .flatMap(u -> u.blocks.stream())
                                            .toList()))));
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
    private @Nullable Choice leastStreaming(Way way, int wantedSlots) {
        List<List<Unit>> leaving = leaving(way);
        int most = leaving.stream().mapToInt(List::size).sum();
        for (int count = 0; count <= most; count++) {
            Set<Integer> left = left(leaving, count);
            Set<Integer> onDemand = experts.stream()
                    .map(WeightBlock::index)
                    .filter(i -> way == Way.STREAM || left.contains(i))
                    .collect(Collectors.toSet());
            Set<Integer> streamed = new HashSet<>(left);
            streamed.removeAll(onDemand);
            long slotBytes = streamed.stream().mapToLong(i -> sizes[i]).max().orElse(0);
            int slots = streamed.isEmpty() ? 0 : slotsIn(wantedSlots, slotBytes);
            if (!streamed.isEmpty() && slots == 0) {
                continue;
            }
            long resident = blocks.stream()
                    .filter(b -> b.kind() != Kind.EMBEDDING
                            && !streamed.contains(b.index())
                            && !onDemand.contains(b.index()))
                    .mapToLong(b -> sizes[b.index()])
                    .sum();
            long needed = embeddingBytes
                    + resident
                    + slots * slotBytes
                    + leastExpertSlots(way, onDemand.size()) * expertSlotBytes();
            leastBytes = Math.min(leastBytes, needed);
            if (needed <= request.weightsBytes() && resident <= request.residentBytes()) {
                long free = Math.min(request.weightsBytes() - needed, request.residentBytes() - resident);
                int expertSlots = expertSlots(way, onDemand.size(), free);
                return new Choice(way, streamed, onDemand, inHost(left, onDemand), slots, slotBytes, expertSlots);
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

    /** The blocks of the first {@code count} units to leave, spread evenly within their kind. */
    private static Set<Integer> left(List<List<Unit>> leaving, int count) {
        Set<Integer> blocks = new HashSet<>();
        int left = count;
        for (List<Unit> kind : leaving) {
            int leave = Math.min(left, kind.size());
            for (int i = 0; i < leave; i++) {
                Unit unit = kind.get((int) ((2L * i + 1) * kind.size() / (2L * leave)));
                unit.blocks.forEach(block -> blocks.add(block.index()));
            }
            left -= leave;
        }
        return blocks;
    }

    private long expertSlotBytes() {
        return largest(experts);
    }

    /** Room for the experts of one token on their way and of one more in use. */
    private int leastExpertSlots(Way way, int onDemand) {
        int most = way == Way.STREAM ? 2 * request.expertsPerToken() : MOST_PASSING_EXPERTS;
        return Math.min(onDemand, most);
    }

    private int expertSlots(Way way, int onDemand, long freeBytes) {
        int least = leastExpertSlots(way, onDemand);
        if (onDemand == 0 || way == Way.HOST) {
            // Prompts alone come by, and they use each expert once per sweep.
            return least;
        }
        long cache = Math.min(freeBytes, request.expertCacheBytes());
        return (int) Math.min(onDemand, least + cache / expertSlotBytes());
    }

    private int passing(Choice choice) {
        int least = leastExpertSlots(choice.way, choice.onDemand.size());
        return Math.min(choice.expertSlots, Math.max(least, Math.min(choice.expertSlots / 8, MOST_PASSING_EXPERTS)));
    }

    /** A model that fits is read ahead, where there is room for its copy. */
    private Residency residencyOfWhatFits(WeightBlock block) {
        boolean read = block.kind() != Kind.EMBEDDING && (accelerator != null || ownBytes <= request.weightsBytes());
        return read ? Residency.RESIDENT : Residency.MAPPED;
    }

    private Plan finish(Choice choice, Function<WeightBlock, Residency> residencies) {
        List<Entry> entries = new ArrayList<>();
        for (WeightBlock block : blocks) {
            Residency residency = residencies.apply(block);
            entries.add(new Entry(
                    block,
                    residency,
                    residency == Residency.RESIDENT ? sizes[block.index()] : 0,
                    restsIn(block, residency, choice),
                    decodesOnHost(block, choice)));
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
                passing(choice),
                request.costs(),
                forecast(choice, 1),
                forecast(choice, request.ubatchTokens()));
    }

    private static Residency residency(WeightBlock block, Choice choice) {
        if (block.kind() == Kind.EMBEDDING) {
            return Residency.MAPPED;
        }
        if (choice.onDemand.contains(block.index())) {
            return Residency.ON_DEMAND;
        }
        return choice.streamed.contains(block.index()) ? Residency.STREAMED : Residency.RESIDENT;
    }

    private Tier restsIn(WeightBlock block, Residency residency, Choice choice) {
        if (accelerator == null) {
            return residency.tier();
        }
        return switch (residency) {
            case MAPPED -> Tier.HOST;
            case RESIDENT -> Tier.DEVICE;
            case STREAMED, ON_DEMAND -> choice.inHost.contains(block.index()) ? Tier.HOST : Tier.DISK;
        };
    }

    /** Feed-forward networks that have left, unless they are still on the disk. */
    private boolean decodesOnHost(WeightBlock block, Choice choice) {
        boolean network = block.kind() == Kind.EXPERT || block.kind().isFeedForward() && experts.isEmpty();
        return choice.way == Way.HOST && network && choice.inHost.contains(block.index());
    }

    /** The blocks that left and that the host's memory holds: as much as fits, evenly over what left, layer by layer. */
    private Set<Integer> inHost(Set<Integer> left, Set<Integer> onDemand) {
        if (accelerator == null) {
            return Set.of();
        }
        Set<Integer> inHost = new HashSet<>();
        List<Unit> units = layers(b -> left.contains(b.index()) || onDemand.contains(b.index()));
        long total = units.stream().mapToLong(this::bytes).sum();
        double share = total == 0 ? 1 : Math.min(1, (double) accelerator.hostBytes() / total);
        long used = 0;
        for (int i = 0; i < units.size(); i++) {
            long bytes = bytes(units.get(i));
            boolean due = (long) ((i + 1) * share) > (long) (i * share);
            if (due && used + bytes <= accelerator.hostBytes()) {
                used += bytes;
                units.get(i).blocks.forEach(block -> inHost.add(block.index()));
            }
        }
        return inHost;
    }

    private long bytes(Unit unit) {
        return unit.blocks.stream().mapToLong(b -> sizes[b.index()]).sum();
    }

    private Forecast forecast(Choice choice, int tokens) {
        CostModel costs = request.costs();
        double[] compute = new double[blocks.size()];
        double[] transfer = new double[blocks.size()];
        for (WeightBlock block : blocks) {
            if (block.kind() == Kind.EXPERT) {
                continue;
            }
            if (accelerator != null && tokens == 1 && decodesOnHost(block, choice)) {
                compute[block.index()] = accelerator.hostCosts().computeSeconds(block, tokens) + CROSSING_SECONDS;
                continue;
            }
            compute[block.index()] = costs.computeSeconds(block, tokens);
            if (choice.streamed.contains(block.index())) {
                transfer[block.index()] = transferSeconds(sizes[block.index()], choice.inHost.contains(block.index()));
            }
        }
        double computeSum = sum(compute);
        double transferSum = sum(transfer);
        for (List<WeightBlock> layer : experts.stream()
                .collect(Collectors.groupingBy(WeightBlock::layer, TreeMap::new, Collectors.toList()))
                .values()) {
            WeightBlock first = layer.getFirst();
            double used = CostModel.expectedExperts(layer.size(), request.expertsPerToken(), tokens);
            boolean onHost = accelerator != null && tokens == 1 && decodesOnHost(first, choice);
            CostModel computes = onHost ? accelerator.hostCosts() : costs;
            double computing = computes.expertSeconds(first, layer.size(), used, request.expertsPerToken(), tokens)
                    + (onHost ? CROSSING_SECONDS : 0);
            double reading = onHost || !choice.onDemand.contains(first.index())
                    ? 0
                    : used
                            * (1 - hitRate(choice, tokens))
                            * transferSeconds(sizes[first.index()], choice.inHost.contains(first.index()));
            // The router speaks just before: only the layer's own experts can hide the reading of one another.
            compute[first.index()] = Math.max(computing, reading);
            computeSum += computing;
            transferSum += reading;
        }
        double sweep = PipelineModel.sweepSeconds(compute, transfer, Math.max(1, choice.slots), TRANSFER_VARIATION);
        return new Forecast(tokens, computeSum, transferSum, sweep);
    }

    /** Seconds for the bytes of a block to come from where it rests. */
    private double transferSeconds(double bytes, boolean inHost) {
        double seconds = request.costs().transferSeconds(bytes);
        return accelerator == null || inHost
                ? seconds
                : Math.max(seconds, accelerator.hostCosts().transferSeconds(bytes));
    }

    private double hitRate(Choice choice, int tokens) {
        int onDemand = choice.onDemand.size();
        if (choice.expertSlots >= onDemand) {
            return 1;
        }
        double cached = (double) (choice.expertSlots - passing(choice)) / onDemand;
        return tokens == 1 ? request.costs().hitRate(cached) : cached;
    }

    private static double sum(double[] values) {
        double sum = 0;
        for (double value : values) {
            sum += value;
        }
        return sum;
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

    /** Blocks that leave together. */
    private record Unit(List<WeightBlock> blocks) {}

    /**
     * @param streamed indices of the blocks that stream
     * @param onDemand indices of the experts that come when they are asked for
     * @param inHost of both, those that rest in the host's memory beside a device with memory of its own
     */
    private record Choice(
            Way way,
            Set<Integer> streamed,
            Set<Integer> onDemand,
            Set<Integer> inHost,
            int slots,
            long slotBytes,
            int expertSlots) {}
}
