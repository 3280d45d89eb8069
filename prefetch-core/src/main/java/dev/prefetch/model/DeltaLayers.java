package dev.prefetch.model;

import dev.prefetch.backend.DeltaShape;
import dev.prefetch.model.ModelConfig.Keys;
import dev.prefetch.model.ModelConfig.LayerSet;
import dev.prefetch.model.Traits.DeltaHeads;
import java.util.Arrays;
import java.util.stream.IntStream;

/** Reads what a file says of its layers of linear attention. Their keys are those of state-space models. */
final class DeltaLayers {

    /** Every fourth layer has attention where the file is silent. */
    private static final int USUAL_PERIOD = 4;

    private DeltaLayers() {}

    static DeltaShape shape(Keys keys, Traits traits) {
        int headDim = keys.width("ssm.state_size");
        int keyHeads = keys.parts("ssm.group_count", 0);
        int valueHeads = keys.parts("ssm.time_step_rank", 0);
        if (valueHeads % keyHeads != 0) {
            throw keys.refuse("ssm.time_step_rank", valueHeads + " is not a multiple of ssm.group_count " + keyHeads);
        }
        int valueDim = keys.width("ssm.inner_size");
        if (valueDim != (long) valueHeads * headDim) {
            throw keys.refuse(
                    "ssm.inner_size", valueDim + " is not " + valueHeads + " heads of ssm.state_size " + headDim);
        }
        keys.requireWidth("ssm.group_count", 2L * keyHeads * headDim + valueDim);
        int kernel = keys.width("ssm.conv_kernel");
        return new DeltaShape(keyHeads, valueHeads, headDim, kernel, traits.deltaHeads() == DeltaHeads.INTERLEAVED);
    }

    /** The layers whose attention is linear: those the file marks, or all but the last of a period. */
    static LayerSet which(Keys keys, int layers) {
        String marks = "attention.recurrent_layers";
        return keys.isArray(marks)
                ? keys.marked(marks, layers)
                : Keys.allButTheLastOf(keys.size("full_attention_interval", USUAL_PERIOD));
    }

    /**
     * Rotation in parts, for pictures: pair {@code p} turns by the time, the height or the width of a position, which are
     * the same in a text, or else by a fourth number, which a text does not have.
     *
     * @param pairs rotated pairs of a head
     */
    static void requireTextRotation(Keys keys, int pairs) {
        String key = "rope.dimension_sections";
        if (!keys.contains(key)) {
            return;
        }
        int[] sections = keys.counts(key, 4);
        int all = IntStream.of(sections).sum();
        for (int pair = 0; pair < pairs; pair++) {
            int place = all == 0 ? 0 : pair % all;
            if (place >= 3 * sections[place % 3]) {
                throw keys.refuse(
                        key,
                        Arrays.toString(sections) + " leave pair " + pair + " of " + pairs + " without a position");
            }
        }
    }
}
