package dev.prefetch.inference;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Weight;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.model.TensorRole;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.prefetch.Regime;
import dev.prefetch.prefetch.WeightLease;
import dev.prefetch.prefetch.WeightSource;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BiConsumer;
import org.jspecify.annotations.Nullable;

/** Weights in place in a mapped file, with a say in every sweep and every acquisition, on the compute thread. */
final class TestWeights implements WeightSource {

    private final DeviceBuffer file;
    final AtomicInteger openLeases = new AtomicInteger();
    final AtomicInteger openSweeps = new AtomicInteger();
    volatile BiConsumer<Regime, Integer> onSweep = (regime, tokens) -> {};
    volatile BiConsumer<WeightBlock, Regime> onAcquire = (block, regime) -> {};
    private Regime regime = Regime.PREFILL;

    TestWeights(Device device, GgufFile file) {
        this.file = device.wrap(file.parts().getFirst().mapping());
    }

    @Override
    public void beginSweep(Regime newRegime, int tokens) {
        regime = newRegime;
        openSweeps.incrementAndGet();
        onSweep.accept(newRegime, tokens);
    }

    @Override
    public void endSweep() {
        openSweeps.decrementAndGet();
    }

    @Override
    public WeightLease acquire(WeightBlock block) {
        onAcquire.accept(block, regime);
        openLeases.incrementAndGet();
        return new Lease(block);
    }

    @Override
    public void close() {
        file.close();
    }

    private final class Lease implements WeightLease {

        private final WeightBlock block;

        Lease(WeightBlock block) {
            this.block = block;
        }

        @Override
        public WeightBlock block() {
            return block;
        }

        @Override
        public Weight weight(TensorRole role) {
            Weight weight = find(role);
            if (weight == null) {
                throw new IllegalStateException("block " + block.label() + " has no " + role);
            }
            return weight;
        }

        @Override
        public @Nullable Weight find(TensorRole role) {
            return block.find(role)
                    .map(t -> new Weight(t.type(), t.rows(), t.cols(), file, t.fileOffset()))
                    .orElse(null);
        }

        @Override
        public void close() {
            openLeases.decrementAndGet();
        }
    }
}
