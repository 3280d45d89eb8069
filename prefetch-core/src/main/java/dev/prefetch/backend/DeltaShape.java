package dev.prefetch.backend;

/**
 * Shape of a gated delta network (Yang et al. 2024, arXiv 2412.06464): linear attention whose keys and values are not kept
 * by position, but added up in one matrix per value head.
 *
 * @param keyHeads heads of queries and keys
 * @param valueHeads heads of values, a multiple of {@code keyHeads}
 * @param headDim elements of a query, key or value head
 * @param kernel positions that the convolution in front sees, the current one included
 * @param interleaved whether value head {@code h} reads key head {@code h % keyHeads}; otherwise
 *     {@code h / (valueHeads / keyHeads)}
 */
public record DeltaShape(int keyHeads, int valueHeads, int headDim, int kernel, boolean interleaved) {

    public DeltaShape {
        if (keyHeads < 1 || valueHeads < 1 || valueHeads % keyHeads != 0 || headDim < 1 || kernel < 1) {
            throw new IllegalArgumentException("bad delta shape: keyHeads " + keyHeads + ", valueHeads " + valueHeads
                    + ", headDim " + headDim + ", kernel " + kernel);
        }
    }

    /** Elements of the queries, and of the keys, of one token. */
    public int keyDim() {
        return keyHeads * headDim;
    }

    /** Elements of the values of one token. */
    public int valueDim() {
        return valueHeads * headDim;
    }

    /** Elements of queries, keys and values of one token, one behind the other. */
    public int channels() {
        return 2 * keyDim() + valueDim();
    }

    /** The key head that a value head reads. */
    public int keyHead(int valueHead) {
        return interleaved ? valueHead % keyHeads : valueHead / (valueHeads / keyHeads);
    }

    /** Bytes of the rows that the convolution keeps, {@code [kernel - 1 x channels]}, f32. */
    public long convolutionBytes() {
        return (long) Float.BYTES * (kernel - 1) * channels();
    }

    /** Bytes of the matrices of all value heads, {@code [valueHeads x headDim x headDim]}, f32. */
    public long matrixBytes() {
        return (long) Float.BYTES * valueDim() * headDim;
    }
}
