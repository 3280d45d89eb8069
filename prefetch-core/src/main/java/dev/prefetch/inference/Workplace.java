package dev.prefetch.inference;

import dev.prefetch.backend.Devices;
import dev.prefetch.model.LoraAdapter;
import dev.prefetch.prefetch.WeightSource;
import java.util.List;

/**
 * Where sweeps are computed.
 *
 * @param devices what computes; stay open
 * @param weights the model's, for these devices; stay open
 * @param adapters LoRA adapters, which are uploaded to these devices
 */
public record Workplace(Devices devices, WeightSource weights, List<LoraAdapter> adapters) {

    public Workplace {
        adapters = List.copyOf(adapters);
    }
}
