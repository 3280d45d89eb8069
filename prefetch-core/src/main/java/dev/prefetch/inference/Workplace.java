package dev.prefetch.inference;

import dev.prefetch.backend.Devices;
import dev.prefetch.prefetch.WeightSource;

/**
 * Where sweeps are computed.
 *
 * @param devices what computes; stay open
 * @param weights the model's, for these devices; stay open
 */
public record Workplace(Devices devices, WeightSource weights) {}
