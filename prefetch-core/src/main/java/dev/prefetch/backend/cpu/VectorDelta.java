package dev.prefetch.backend.cpu;

import jdk.incubator.vector.FloatVector;

/** The pieces of a gated delta network. */
final class VectorDelta {

    private VectorDelta() {}

    static void addProduct(long x, long a, long b, int n) {
        int i = 0;
        for (; i + Vectors.LANES <= n; i += Vectors.LANES) {
            FloatVector product = Vectors.floats(a + 4L * i).mul(Vectors.floats(b + 4L * i));
            Vectors.store(Vectors.floats(x + 4L * i).add(product), x + 4L * i);
        }
        for (; i < n; i++) {
            float product = Memory.getFloat(a + 4L * i) * Memory.getFloat(b + 4L * i);
            Memory.putFloat(x + 4L * i, Memory.getFloat(x + 4L * i) + product);
        }
    }

    /**
     * See {@link Kernels#deltaStep}. Columns of the matrix have nothing to do with each other: as many as fill four vectors
     * go through all rows twice, first to look the key up, then to change the rows and look the query up.
     */
    static void step(long matrix, int dim, long q, long k, long v, float decay, float beta, long out) {
        int j = 0;
        for (; j + 4 * Vectors.LANES <= dim; j += 4 * Vectors.LANES) {
            look(matrix + 4L * j, dim, k, out + 4L * j);
            delta(v + 4L * j, decay, beta, 4 * Vectors.LANES, out + 4L * j);
            change(matrix + 4L * j, dim, q, k, decay, out + 4L * j);
        }
        for (; j + Vectors.LANES <= dim; j += Vectors.LANES) {
            oneVector(matrix + 4L * j, dim, q, k, v + 4L * j, decay, beta, out + 4L * j);
        }
        for (; j < dim; j++) {
            oneColumn(matrix + 4L * j, dim, q, k, v + 4L * j, decay, beta, out + 4L * j);
        }
    }

    private static void look(long matrix, int dim, long k, long out) {
        FloatVector a = Vectors.zero();
        FloatVector b = a;
        FloatVector c = a;
        FloatVector d = a;
        long p = matrix;
        long key = k;
        long end = k + 4L * dim;
        while (key < end) {
            p = Memory.known(p);
            key = Memory.known(key);
            FloatVector y = Vectors.broadcast(key);
            a = Vectors.floats(p).fma(y, a);
            b = Vectors.floats(p + Vectors.BYTES).fma(y, b);
            c = Vectors.floats(p + 2 * Vectors.BYTES).fma(y, c);
            d = Vectors.floats(p + 3 * Vectors.BYTES).fma(y, d);
            p += 4L * dim;
            key += 4;
        }
        long o = Memory.known(out);
        Vectors.store(a, o);
        Vectors.store(b, o + Vectors.BYTES);
        Vectors.store(c, o + 2 * Vectors.BYTES);
        Vectors.store(d, o + 3 * Vectors.BYTES);
    }

    /** What was found for the key becomes what is to be added for it. */
    private static void delta(long v, float decay, float beta, int n, long found) {
        for (int i = 0; i < n; i += Vectors.LANES) {
            FloatVector rest = Vectors.floats(v + 4L * i)
                    .sub(Vectors.floats(found + 4L * i).mul(decay));
            Vectors.store(rest.mul(beta), found + 4L * i);
        }
    }

    /** Takes what is to be added from {@code out}, and leaves there what is found for the query. */
    private static void change(long matrix, int dim, long q, long k, float decay, long out) {
        FloatVector da = Vectors.floats(out);
        FloatVector db = Vectors.floats(out + Vectors.BYTES);
        FloatVector dc = Vectors.floats(out + 2 * Vectors.BYTES);
        FloatVector dd = Vectors.floats(out + 3 * Vectors.BYTES);
        FloatVector a = Vectors.zero();
        FloatVector b = a;
        FloatVector c = a;
        FloatVector d = a;
        long p = matrix;
        long key = k;
        long query = q;
        long end = k + 4L * dim;
        while (key < end) {
            p = Memory.known(p);
            key = Memory.known(key);
            FloatVector y = Vectors.broadcast(key);
            FloatVector z = Vectors.broadcast(Memory.known(query));
            FloatVector sa = da.fma(y, Vectors.floats(p).mul(decay));
            FloatVector sb = db.fma(y, Vectors.floats(p + Vectors.BYTES).mul(decay));
            FloatVector sc = dc.fma(y, Vectors.floats(p + 2 * Vectors.BYTES).mul(decay));
            FloatVector sd = dd.fma(y, Vectors.floats(p + 3 * Vectors.BYTES).mul(decay));
            Vectors.store(sa, p);
            Vectors.store(sb, p + Vectors.BYTES);
            Vectors.store(sc, p + 2 * Vectors.BYTES);
            Vectors.store(sd, p + 3 * Vectors.BYTES);
            a = sa.fma(z, a);
            b = sb.fma(z, b);
            c = sc.fma(z, c);
            d = sd.fma(z, d);
            p += 4L * dim;
            key += 4;
            query += 4;
        }
        long o = Memory.known(out);
        Vectors.store(a, o);
        Vectors.store(b, o + Vectors.BYTES);
        Vectors.store(c, o + 2 * Vectors.BYTES);
        Vectors.store(d, o + 3 * Vectors.BYTES);
    }

    private static void oneVector(long matrix, int dim, long q, long k, long v, float decay, float beta, long out) {
        FloatVector found = Vectors.zero();
        for (int i = 0; i < dim; i++) {
            found = Vectors.floats(matrix + 4L * dim * i).fma(Vectors.broadcast(k + 4L * i), found);
        }
        FloatVector delta = Vectors.floats(v).sub(found.mul(decay)).mul(beta);
        FloatVector result = Vectors.zero();
        for (int i = 0; i < dim; i++) {
            long p = matrix + 4L * dim * i;
            FloatVector entry =
                    delta.fma(Vectors.broadcast(k + 4L * i), Vectors.floats(p).mul(decay));
            Vectors.store(entry, p);
            result = entry.fma(Vectors.broadcast(q + 4L * i), result);
        }
        Vectors.store(result, out);
    }

    private static void oneColumn(long matrix, int dim, long q, long k, long v, float decay, float beta, long out) {
        float found = 0;
        for (int i = 0; i < dim; i++) {
            found = Math.fma(Memory.getFloat(matrix + 4L * dim * i), Memory.getFloat(k + 4L * i), found);
        }
        float delta = (Memory.getFloat(v) - found * decay) * beta;
        float result = 0;
        for (int i = 0; i < dim; i++) {
            long p = matrix + 4L * dim * i;
            float entry = Math.fma(delta, Memory.getFloat(k + 4L * i), Memory.getFloat(p) * decay);
            Memory.putFloat(p, entry);
            result = Math.fma(entry, Memory.getFloat(q + 4L * i), result);
        }
        Memory.putFloat(out, result);
    }
}
