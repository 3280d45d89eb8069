package dev.prefetch.inference;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceOptions;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.testing.MeteredBackend;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class BatchTest {

    private static final int[] PROMPT = {10, 11, 12, 13, 14};

    private final Device device = MeteredBackend.cpu().open(new DeviceOptions(1));
    private final KvPool pool = new KvPool(
            device, new KvLayout(List.of(new AttentionShape(1, 1, 4, 4, 1, 0, 0)), GgmlType.F32), 8, 1 << 20, 0);
    private final Batch batch = new Batch(8);
    private final KvCache first = pool.open(1);
    private final KvCache second = pool.open(1);

    @BeforeEach
    void fill() {
        batch.addDecode(first, 7, 20);
        batch.addPrefill(second, PROMPT, 1, 3, Batch.Outputs.LAST);
        batch.addPrefill(second, PROMPT, 4, 1, Batch.Outputs.NONE);
        batch.addPrefill(first, PROMPT, 0, 2, Batch.Outputs.ALL);
    }

    @AfterEach
    void close() {
        pool.close();
        device.close();
    }

    @Test
    void laysRowsOutOneBehindTheOther() {
        assertThat(batch.size()).isEqualTo(7);
        assertThat(batch.decodeRows()).isEqualTo(1);
        assertThat(Arrays.copyOf(batch.tokens(), 7)).containsExactly(7, 11, 12, 13, 14, 10, 11);
        assertThat(Arrays.copyOf(batch.positions(), 7)).containsExactly(20, 1, 2, 3, 4, 0, 1);
        assertThat(batch.segments())
                .containsExactly(
                        new Batch.Segment(first, 0, 1, 20),
                        new Batch.Segment(second, 1, 3, 1),
                        new Batch.Segment(second, 4, 1, 4),
                        new Batch.Segment(first, 5, 2, 0));
    }

    @Test
    void wantsTheOutputsThatWereAskedFor() {
        int[] rows = new int[batch.outputs()];
        Arrays.setAll(rows, batch::outputRow);
        assertThat(rows).containsExactly(0, 3, 5, 6);
    }

    @Test
    void refusesADecodeRowBehindPrefillRows() {
        assertThatIllegalStateException().isThrownBy(() -> batch.addDecode(first, 1, 21));
    }

    @Test
    void isEmptyAfterwards() {
        batch.clear();
        assertThat(batch.size() + batch.decodeRows() + batch.outputs()).isZero();
        assertThat(batch.segments()).isEmpty();
        batch.addDecode(first, 1, 21);
        assertThat(batch.outputRow(0)).isZero();
    }
}
