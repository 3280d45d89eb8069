package dev.prefetch.backend.cpu;

import dev.prefetch.gguf.GgmlType;
import org.jspecify.annotations.Nullable;

/**
 * Formats whose matrices are multiplied with rows of weights in the lanes of a vector, and how a group of {@link Vectors#LANES}
 * rows is packed for that: in the same room, and the same bits in another order.
 *
 * <p>A packed group has the words of 32 bits of its blocks, each once for every row, {@link #COLS} columns at a time, and
 * in front of them, for formats whose blocks have an odd half, these, and for super-blocks the words with scales:
 * {@code [256 columns]{[block][LANES] halves, [word][LANES] scales, [block][word][LANES] words}}. Halves of super-blocks are all in front of
 * the group, so that words begin at cache lines. All elements of a word belong to one group of columns: two to half a lane with 8 bits, four with 4, three with 5
 * and a bit of a sixteenth, two with 6 and some bits of a third one. {@link LanePacking} has the order. So a group is read from its beginning to its end without a jump, which is what processors
 * fetch ahead, and nothing has to be transposed while multiplying. Kernels take two groups, which need not be neighbours: see {@link Kernels#apart}.
 */
enum LaneFormat {
    /** Blocks of 32: a scale and signed bytes, of which a packed lane has four in falling order, the second and the fourth of them plus 128. */
    Q8_0(GgmlType.Q8_0, 8, true, ActivationForm.BLOCK_BYTES, 0, 8),
    /** Blocks of 32: a scale and nibbles with zero point 8. */
    Q4_0(GgmlType.Q4_0, 4, true, ActivationForm.BLOCK_NIBBLES, 8, 8),
    /** Super-blocks of 256 in groups of 32 with scales and minima, four bits. */
    Q4_K(GgmlType.Q4_K, 36, false, ActivationForm.GROUP_NIBBLES, 8, 8),
    /** The same with five bits. */
    Q5_K(GgmlType.Q5_K, 44, false, ActivationForm.GROUP_FIVE_BITS, 16, 8),
    /** Super-blocks of 256 in groups of 16 with scales and zero point 32, six bits. */
    Q6_K(GgmlType.Q6_K, 52, true, ActivationForm.SIXTEENTHS, 32, 4);

    private static final LaneFormat[] VALUES = values();

    /** Rows of two groups, which kernels multiply together. */
    static final int PAIR_ROWS = 2 * Vectors.LANES;

    /** Columns that are multiplied at a time: a super-block, or as many blocks as make 256. */
    static final int COLS = 256;

    /** The format in files. */
    final GgmlType type;

    /** Columns of a block. */
    final int elements;

    /** Words of 32 bits of a block, without its half. */
    final int words;

    /** Whether a block has two bytes more than {@link #words}. */
    final boolean half;

    /** How activations are prepared. */
    final ActivationForm form;

    /**
     * How large activations become as integers; there is a scale for every {@link #sumCols}. For bytes it is the largest magnitude. For others it is the sum of
     * magnitudes before they are rounded, such that products with elements less {@link #centre} cannot sum to more than 16 bits hold.
     */
    final int most;

    /** What is taken away from an unsigned element, so that sums of products fit 16 bits. */
    final int centre;

    /** Words of four elements whose products are summed in 16 bits. */
    final int wordsPerSum;

    LaneFormat(GgmlType type, int words, boolean half, ActivationForm form, int centre, int wordsPerSum) {
        this.type = type;
        this.elements = type.blockElements();
        this.words = words;
        this.half = half;
        this.form = form;
        this.centre = centre;
        this.wordsPerSum = wordsPerSum;
        // Rounding adds a half to each.
        this.most = bytes() ? Byte.MAX_VALUE : Short.MAX_VALUE / centre - sumCols() / 2;
    }

    /** Columns of a sum, of a group of weights with a scale and of a group of activations with one. */
    int sumCols() {
        return 4 * wordsPerSum;
    }

    /** Whether elements are signed bytes, of which one product fills 16 bits. */
    boolean bytes() {
        return centre == 0;
    }

    /**
     * Whether many rows of activations are multiplied by integers too. Products with bytes fill 16 bits at once, where floats are as fast or faster.
     */
    boolean manyRows() {
        return !bytes();
    }

    /**
     * Whether packed words are multiplied with four rows of activations at once; with two they always are. Of 16 registers four rows leave too few: in many
     * processes the compiler then keeps their sums in memory.
     */
    boolean fourRows() {
        return this != Q6_K && Vectors.BYTES == 64;
    }

    /** Whether the kernel of four rows goes on to results. */
    boolean fourRowsToResults() {
        return this == Q4_0 && fourRows();
    }

    /** So many rows of activations are multiplied with packed words. For more it is worth the time to take these apart, where that is possible. */
    int fewRows() {
        return switch (this) {
            case Q8_0 -> Integer.MAX_VALUE;
            case Q4_0, Q4_K -> Vectors.BYTES == 64 ? 16 : 8;
            case Q5_K -> 8;
            case Q6_K -> 4;
        };
    }

    /** Whether groups have minima. */
    boolean minima() {
        return this == Q4_K || this == Q5_K;
    }

    /** The format whose activations have that form. */
    static @Nullable LaneFormat of(ActivationForm form) {
        for (LaneFormat format : VALUES) {
            if (format.form == form) {
                return format;
            }
        }
        return null;
    }

    static @Nullable LaneFormat of(GgmlType type) {
        for (LaneFormat format : VALUES) {
            if (format.type == type) {
                return format;
            }
        }
        return null;
    }

    /** Whether matrices of that shape are packed: an even number of groups, behind which rows stay as they are. */
    static boolean packs(GgmlType type, long rows, long cols) {
        return of(type) != null && rows >= PAIR_ROWS && cols % type.blockElements() == 0;
    }

    /** Bytes of so many columns of a group. */
    long groupBytes(int cols) {
        return Vectors.LANES * type.byteSize(cols);
    }

    /**
     * Where in a packed group the words of the blocks from that column on are.
     *
     * @param col a multiple of {@link #COLS}
     */
    long wordsAt(int cols, int col) {
        return frontAt(cols, col) + (long) front() * Vectors.BYTES;
    }

    /** Where in a packed group the words in front of the others are, for formats that have any. */
    long frontAt(int cols, int col) {
        // Halves of the columns before are among the bytes of these.
        int withHalves = superBlocks() ? cols - col : Math.min(COLS, cols - col);
        return groupBytes(col) + halfBytes(withHalves);
    }

    /** Where in a packed group the halves of the blocks from that column on are, for formats that have any. */
    long halvesAt(int col) {
        return superBlocks() ? halfBytes(col) : groupBytes(col);
    }

    /** Bytes from the words of {@link #COLS} columns to those of the next ones. */
    long wordsStep() {
        return groupBytes(COLS) - (superBlocks() ? halfBytes(COLS) : 0);
    }

    private boolean superBlocks() {
        return elements == COLS;
    }

    /** Bytes of the halves of so many columns of a group. */
    private long halfBytes(int cols) {
        return half ? 2L * Vectors.LANES * (cols / elements) : 0;
    }

    /** Words of a block in front of the others: scales and minima. */
    private int front() {
        return superBlocks() ? 4 : 0;
    }
}
