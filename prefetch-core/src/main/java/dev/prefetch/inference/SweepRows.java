package dev.prefetch.inference;

import dev.prefetch.backend.DeviceFailedException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;

/**
 * The rows of a sweep and whose they are. Every generating sequence has one, with guesses of the next ones where that pays;
 * what is left of the ubatch goes to prompts, and to what sequences that gave way compute again, each an equal share. Used by
 * the compute thread only.
 */
final class SweepRows {

    /**
     * Most rows that a sequence computes again by decode kernels beside others that generate: such a row takes several times as
     * long as one of a prompt, and they wait for it.
     */
    private static final int RECOMPUTED_BESIDE_DECODE = 16;

    private final Batch batch;
    private final BatchLimits limits;
    private final boolean wholeTexts;
    private final List<GeneratingSequence> decoding = new ArrayList<>();
    private final List<Sequence> prompts = new ArrayList<>();
    private final List<Sequence> carried = new ArrayList<>();
    private final List<Integer> counts = new ArrayList<>();
    private final List<GeneratingSequence> outputs = new ArrayList<>();
    private final List<EmbeddingSequence> hiddens = new ArrayList<>();

    /** @param wholeTexts whether every position of a text sees the whole of it, so that it has to be in one sweep */
    SweepRows(Batch batch, BatchLimits limits, boolean wholeTexts) {
        this.batch = batch;
        this.limits = limits;
        this.wholeTexts = wholeTexts;
    }

    void clear() {
        batch.clear();
        decoding.clear();
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
            } else {
                prompts.add(sequence);
            }
        }
        int draftRoom = prompts.isEmpty() ? limits.ubatch() : 0;
        for (GeneratingSequence sequence : decoding) {
            sequence.draft(limits.speculation(), draftCost, decoding.size(), draftRoom);
            draftRoom -= sequence.drafted();
            carry(sequence, 0, admission);
        }
        int[] shares = wholeTexts ? wholeShares() : shares();
        // The rows that decode kernels compute come first.
        for (boolean decoded : new boolean[] {true, false}) {
            for (int i = 0; i < shares.length; i++) {
                if (shares[i] > 0 && prompts.get(i).decodesPrompt() == decoded) {
                    carry(prompts.get(i), shares[i], admission);
                }
            }
        }
    }

    /** Rows of each of the prompts: the shortest first, an equal share of what the ones before it left; none waits for another. */
    private int[] shares() {
        prompts.sort(Comparator.comparingInt(Sequence::left));
        boolean alone = batch.decodeRows() == 0;
        int room = alone ? limits.ubatch() : limits.ubatchBesideDecode();
        int[] shares = new int[prompts.size()];
        for (int i = 0; i < shares.length && room > 0; i++) {
            Sequence sequence = prompts.get(i);
            int share = Math.max(1, room / (shares.length - i));
            boolean again = sequence.decodesPrompt() && sequence.prefix() != sequence.prompt();
            shares[i] = sequence.next(again && !alone ? Math.min(share, RECOMPUTED_BESIDE_DECODE) : share);
            room -= shares[i];
        }
        return shares;
    }

    /** Rows of each of the texts: all or none, in the order in which they came, or a long one might wait for ever. */
    private int[] wholeShares() {
        int room = limits.ubatch();
        int[] shares = new int[prompts.size()];
        for (int i = 0; i < shares.length; i++) {
            int rows = prompts.get(i).left();
            if (rows <= room) {
                shares[i] = rows;
                room -= rows;
            }
        }
        return shares;
    }

    private void carry(Sequence sequence, int room, Admission admission) {
        try {
            sequence.reserve(room);
        } catch (DeviceFailedException e) {
            throw e;
        } catch (RuntimeException e) {
            // Memory that was promised and cannot be had.
            admission.fail(sequence, e);
            return;
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
        return batch.decodeRows() == batch.size() && prompts.isEmpty();
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
