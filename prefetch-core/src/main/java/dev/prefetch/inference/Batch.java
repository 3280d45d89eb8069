package dev.prefetch.inference;

import java.util.ArrayList;
import java.util.List;

/**
 * The tokens of one sweep: first the decode rows (one token of each sequence that is generating, or
 * several where the next ones are guessed), then the prefill rows
 * (runs of prompt tokens). Reused from sweep to sweep by the compute thread.
 */
final class Batch {

    private final int[] tokens;
    private final int[] positions;
    private final List<Segment> segments = new ArrayList<>();
    private final int[] outputRows;
    private final int[] hiddenRows;
    private int size;
    private int decodeRows;
    private int outputs;
    private int hiddens;

    Batch(int capacity) {
        tokens = new int[capacity];
        positions = new int[capacity];
        outputRows = new int[capacity];
        hiddenRows = new int[capacity];
    }

    void clear() {
        segments.clear();
        size = 0;
        decodeRows = 0;
        outputs = 0;
        hiddens = 0;
    }

    /** Adds the next token of a generating sequence; its logits are wanted. */
    void addDecode(KvCache cache, int token, int position) {
        addDecode(cache, new int[] {token}, position);
    }

    /** Adds the next tokens of a generating sequence at consecutive positions; the logits of all of them are wanted. */
    void addDecode(KvCache cache, int[] run, int position) {
        if (size != decodeRows) {
            throw new IllegalStateException("decode rows come before prefill rows");
        }
        segments.add(new Segment(cache, size, run.length, position));
        for (int i = 0; i < run.length; i++) {
            wantOutput(put(run[i], position + i));
        }
        decodeRows += run.length;
    }

    /** Adds tokens of a short prompt, to be computed as if they were generated. */
    void addDecodedPrompt(KvCache cache, int[] prompt, int from, int count, Outputs wanted) {
        if (size != decodeRows) {
            throw new IllegalStateException("decode rows come before prefill rows");
        }
        addPrefill(cache, prompt, from, count, wanted);
        decodeRows += count;
    }

    /** Adds a run of prompt tokens without a wish for hidden states. */
    void addPrefill(KvCache cache, int[] prompt, int from, int count, Outputs wanted) {
        addPrefill(cache, prompt, from, count, wanted, Hidden.NONE);
    }

    /** Adds a run of prompt tokens. */
    void addPrefill(KvCache cache, int[] prompt, int from, int count, Outputs wanted, Hidden hidden) {
        segments.add(new Segment(cache, size, count, from));
        for (int i = 0; i < count; i++) {
            int row = put(prompt[from + i], from + i);
            if (wanted == Outputs.ALL || wanted == Outputs.LAST && i == count - 1) {
                wantOutput(row);
            }
            if (hidden == Hidden.ALL || hidden == Hidden.FIRST && i == 0 || hidden == Hidden.LAST && i == count - 1) {
                hiddenRows[hiddens++] = row;
            }
        }
    }

    private int put(int token, int position) {
        tokens[size] = token;
        positions[size] = position;
        return size++;
    }

    private void wantOutput(int row) {
        outputRows[outputs++] = row;
    }

    int size() {
        return size;
    }

    int capacity() {
        return tokens.length;
    }

    /** Rows {@code 0 .. decodeRows()} decode, the others prefill. */
    int decodeRows() {
        return decodeRows;
    }

    int[] tokens() {
        return tokens;
    }

    int[] positions() {
        return positions;
    }

    List<Segment> segments() {
        return segments;
    }

    /** Number of rows whose logits are wanted. */
    int outputs() {
        return outputs;
    }

    /** Row of the {@code i}-th wanted output. */
    int outputRow(int i) {
        return outputRows[i];
    }

    /** Number of rows whose hidden states are wanted. */
    int hiddens() {
        return hiddens;
    }

    /** Row of the {@code i}-th wanted hidden state. */
    int hiddenRow(int i) {
        return hiddenRows[i];
    }

    /** Which rows of a run need logits. */
    enum Outputs {
        NONE,
        LAST,
        ALL
    }

    /** Of which rows of a run the hidden state behind the last norm is wanted. */
    enum Hidden {
        NONE,
        FIRST,
        LAST,
        ALL
    }

    /**
     * Rows of one sequence at consecutive positions.
     *
     * @param cache the sequence's keys and values
     * @param firstRow first row in the batch
     * @param count number of rows
     * @param position position of the first row
     */
    record Segment(KvCache cache, int firstRow, int count, int position) {}
}
