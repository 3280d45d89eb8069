package dev.prefetch.inference;

import dev.prefetch.backend.OutOfDeviceMemoryException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;

/**
 * The rows of a sweep and whose they are. Every generating sequence has one, with guesses of the next ones where that pays;
 * what is left of the ubatch goes to prompts, each an equal share. Used by the compute thread only.
 */
final class SweepRows {

    private final Batch batch;
    private final BatchLimits limits;
    private final List<GeneratingSequence> decoding = new ArrayList<>();
    private final List<Sequence> shortPrompts = new ArrayList<>();
    private final List<Sequence> prompts = new ArrayList<>();
    private final List<Sequence> carried = new ArrayList<>();
    private final List<Integer> counts = new ArrayList<>();
    private final List<GeneratingSequence> outputs = new ArrayList<>();
    private final List<EmbeddingSequence> hiddens = new ArrayList<>();

    SweepRows(Batch batch, BatchLimits limits) {
        this.batch = batch;
        this.limits = limits;
    }

    void clear() {
        batch.clear();
        decoding.clear();
        shortPrompts.clear();
        prompts.clear();
        carried.clear();
        counts.clear();
        outputs.clear();
        hiddens.clear();
    }

    /** Chooses the rows. A sequence whose memory cannot be had fails. */
    void choose(Admission admission, DraftCost draftCost) {
        for (Sequence sequence : admission.active()) {
            if (!sequence.prefilling() && sequence instanceof GeneratingSequence generation) {
                decoding.add(generation);
            } else if (sequence instanceof GeneratingSequence generation && generation.decodesPrompt()) {
                shortPrompts.add(sequence);
            } else {
                prompts.add(sequence);
            }
        }
        int draftRoom = prompts.isEmpty() && shortPrompts.isEmpty() ? limits.ubatch() : 0;
        for (GeneratingSequence sequence : decoding) {
            sequence.draft(limits.speculation(), draftCost, decoding.size(), draftRoom);
            draftRoom -= sequence.drafted();
            carry(sequence, 0, admission);
        }
        // The shortest first, each with an equal share of what the ones before it left: no prompt waits for another.
        prompts.sort(Comparator.comparingInt(Sequence::left));
        int room = batch.decodeRows() == 0 ? limits.ubatch() : limits.ubatchBesideDecode();
        for (Sequence sequence : shortPrompts) {
            room -= room > 0 ? carry(sequence, room, admission) : 0;
        }
        for (int i = 0; i < prompts.size() && room > 0; i++) {
            int share = Math.max(1, room / (prompts.size() - i));
            room -= carry(prompts.get(i), share, admission);
        }
    }

    private int carry(Sequence sequence, int room, Admission admission) {
        try {
            sequence.reserve(room);
        } catch (OutOfDeviceMemoryException e) {
            admission.fail(sequence, e);
            return 0;
        }
        int outputsBefore = batch.outputs();
        int hiddensBefore = batch.hiddens();
        int count = sequence.addTo(batch, room);
        carried.add(sequence);
        counts.add(count);
        if (sequence instanceof GeneratingSequence generation) {
            outputs.addAll(Collections.nCopies(batch.outputs() - outputsBefore, generation));
        }
        if (sequence instanceof EmbeddingSequence text) {
            hiddens.addAll(Collections.nCopies(batch.hiddens() - hiddensBefore, text));
        }
        return count;
    }

    /** Whether there is nothing to compute. */
    boolean isEmpty() {
        return carried.isEmpty();
    }

    /** Whose rows there are. */
    List<Sequence> carried() {
        return carried;
    }

    /** How many rows the {@code i}-th of {@link #carried()} has. */
    int count(int i) {
        return counts.get(i);
    }

    /** Those whose next tokens are computed. */
    List<GeneratingSequence> decoding() {
        return decoding;
    }

    /** Whether all rows are tokens that are generated. */
    boolean onlyGenerates() {
        return batch.decodeRows() == batch.size() && shortPrompts.isEmpty();
    }

    /** Whose logits a row of the output has. */
    GeneratingSequence ofOutput(int output) {
        return outputs.get(output);
    }

    /** Whose hidden state it is. */
    EmbeddingSequence ofHidden(int hidden) {
        return hiddens.get(hidden);
    }

    /** Whether nobody wants any of it any more; asked for every layer. */
    boolean abandoned() {
        for (int i = 0; i < carried.size(); i++) {
            if (!carried.get(i).abandoned()) {
                return false;
            }
        }
        return true;
    }
}
