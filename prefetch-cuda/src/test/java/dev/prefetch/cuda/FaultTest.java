package dev.prefetch.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.CopyStream;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.DeviceFailedException;
import dev.prefetch.backend.Event;
import dev.prefetch.backend.HostMemory;
import dev.prefetch.backend.KvLayer;
import dev.prefetch.backend.OutOfDeviceMemoryException;
import dev.prefetch.backend.Rope;
import dev.prefetch.backend.Weight;
import dev.prefetch.cuda.simulator.Fault;
import dev.prefetch.cuda.simulator.Settings;
import dev.prefetch.cuda.simulator.SimulatedDriver;
import dev.prefetch.gguf.GgmlType;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.TreeMap;
import jcuda.driver.CUresult;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/**
 * Every call to the driver that a small program makes fails once, first as a refused call, then as an operation that fails
 * when it runs: each time one of the two exceptions comes out, nothing is left behind, and a device opened anew computes the
 * right result.
 */
class FaultTest {

    private SimulatedDriver driver;
    private float[] expected;

    @BeforeEach
    void runWithoutFaults() {
        driver = SimulatedDriver.load(Settings.defaults().kernels(Devices.KERNELS, Settings.Kernels.FAST));
        driver.faults();
        expected = program();
        for (float value : expected) {
            assertThat(value).isFinite();
        }
    }

    @AfterEach
    void nothingIsLeft() {
        driver.faults();
        assertThat(program()).containsExactly(expected);
        assertNothingLeft("at the end");
    }

    private void assertNothingLeft(String when) {
        assertThat(driver.live()).as(when).isEqualTo(SimulatedDriver.Live.NONE);
    }

    /** Opens a device, streams a weight twice through one slot, computes with every kind of operation, and reads. */
    private static float[] program() {
        SplittableRandom random = new SplittableRandom(3);
        int cols = 64;
        int rows = 64;
        int tokens = 3;
        byte[] blocks = Devices.randomBlocks(random, GgmlType.Q8_0, (long) rows * cols);
        float[] input = Devices.randomFloats(random, tokens * cols);
        try (Device device = Devices.cuda();
                HostMemory staging = device.allocateHost(blocks.length, "staging");
                CopyStream copies = device.openCopyStream();
                DeviceBuffer slot = device.allocate(blocks.length, "slot");
                DeviceBuffer x = Devices.buffer(device, input);
                DeviceBuffer y = device.allocate(4L * tokens * rows, "y");
                DeviceBuffer page = device.allocate(4L * 2 * 4 * cols, "page")) {
            staging.memory().copyFrom(java.lang.foreign.MemorySegment.ofArray(blocks));
            Weight weight = new Weight(GgmlType.Q8_0, rows, cols, slot, 0);
            AttentionShape shape = new AttentionShape(2, 2, 32, 32, 0.2f, 0, 0);
            KvLayer cache = new KvLayer() {

                @Override
                public GgmlType type() {
                    return GgmlType.F32;
                }

                @Override
                public int pageTokens() {
                    return 4;
                }

                @Override
                public DeviceBuffer page(int index) {
                    return page;
                }

                @Override
                public long keyOffset() {
                    return 0;
                }

                @Override
                public long valueOffset() {
                    return 4L * 4 * cols;
                }
            };
            Rope rope = new Rope(Rope.Layout.HALVES, new float[] {1, 0.1f}, 1);
            for (int sweep = 0; sweep < 2; sweep++) {
                copies.copy(staging.memory(), slot, 0);
                Event copied = copies.recordTimed();
                device.compute().await(copied);
                device.compute().ops().matmul(weight, x, 1, tokens, y);
                device.compute().ops().rmsNorm(y, tokens, rows, null, 1e-5f, y);
                device.compute().ops().rope(y, tokens, 2, 32, rope, new int[] {0, 1, 2});
                device.compute().ops().storeKv(shape, cache, y, y, 0, tokens, 0);
                device.compute().ops().attention(shape, cache, y, 0, tokens, 0, x);
                device.compute().ops().gatherRows(y, new int[] {2, 0}, 2, rows, x);
                device.compute().ops().copy(x, 0, y, 4, 8);
                device.compute().upload(java.lang.foreign.MemorySegment.ofArray(input), y, 0);
                device.compute().ops().copyColumns(y, 0, cols, x, 1, cols, 2, tokens);
                Event computed = device.compute().record();
                copies.await(computed);
                computed.await();
                copied.timeNanos();
            }
            return Devices.read(x, tokens * cols);
        }
    }

    private Map<String, Long> callsOfTheProgram() {
        driver.faults();
        program();
        Map<String, Long> calls = new TreeMap<>(driver.calls());
        // Calls that only give back, and those that ask before the device is opened.
        calls.keySet()
                .removeIf(name -> name.matches(".*(Destroy|Free|FreeHost|Unregister|Unload)")
                        || name.contains(".")
                        || List.of("cuInit", "cuDriverGetVersion").contains(name)
                        || name.startsWith("cuDevice"));
        return calls;
    }

    @Test
    void everyRefusedCallBecomesAClearError() {
        int failures = 0;
        for (Map.Entry<String, Long> call : callsOfTheProgram().entrySet()) {
            for (long n = 1; n <= call.getValue(); n += Math.max(1, call.getValue() / 6)) {
                String when = call.getKey() + " number " + n;
                driver.faults(Fault.returned(call.getKey(), (int) n, CUresult.CUDA_ERROR_LAUNCH_FAILED));
                try {
                    // What fails while things are given back is logged.
                    assertThat(program()).as(when).containsExactly(expected);
                } catch (DeviceFailedException e) {
                    assertThat(e)
                            .hasMessageContaining("CUDA_ERROR_LAUNCH_FAILED")
                            .hasMessageContaining(call.getKey());
                    failures++;
                }
                assertNothingLeft(when);
            }
        }
        assertThat(failures).isGreaterThan(50);
    }

    @Test
    void everyOperationThatFailsAsItRunsBecomesAClearError() {
        List<String> operations =
                List.of("cuLaunchKernel", "cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync", "cuMemsetD8Async");
        Map<String, Long> calls = callsOfTheProgram();
        for (String operation : operations) {
            assertThat(calls).containsKey(operation);
            for (long n = 1; n <= calls.get(operation); n++) {
                String when = operation + " number " + n;
                driver.faults(Fault.sticky(operation, (int) n, CUresult.CUDA_ERROR_ILLEGAL_ADDRESS));
                assertThat(catchThrowable(FaultTest::program))
                        .as(when)
                        .isInstanceOf(DeviceFailedException.class)
                        .hasMessageContaining("CUDA_ERROR_ILLEGAL_ADDRESS")
                        .hasMessageContaining("open the device anew");
                assertNothingLeft(when);
            }
        }
    }

    @Test
    void everyAllocationMayBeRefused() {
        Map<String, Long> calls = callsOfTheProgram();
        for (String allocation : List.of("cuMemAlloc", "cuMemHostAlloc")) {
            for (long n = 1; n <= calls.get(allocation); n++) {
                String when = allocation + " number " + n;
                driver.faults(Fault.returned(allocation, (int) n, CUresult.CUDA_ERROR_OUT_OF_MEMORY));
                assertThat(catchThrowable(FaultTest::program))
                        .as(when)
                        .isInstanceOf(OutOfDeviceMemoryException.class)
                        .hasMessageContaining("cannot allocate");
                assertNothingLeft(when);
            }
        }
    }

    /** After a fault nothing is computed any more, whatever the driver would answer. */
    @Test
    void aFailedDeviceRefusesEverythingWithTheFirstReason() {
        try (Device device = Devices.cuda();
                DeviceBuffer x = device.allocate(64, "x")) {
            driver.faults(Fault.returned("cuLaunchKernel", 1, CUresult.CUDA_ERROR_LAUNCH_FAILED));
            assertThatThrownBy(() -> device.compute().ops().scale(x, 2, 4))
                    .isInstanceOf(DeviceFailedException.class)
                    .hasMessageContaining("cuLaunchKernel(scale)");
            List<org.assertj.core.api.ThrowableAssert.ThrowingCallable> uses = new ArrayList<>(Arrays.asList(
                    () -> device.compute().ops().scale(x, 2, 4),
                    () -> device.compute().synchronize(),
                    () -> device.compute().record(),
                    () -> device.allocate(4, "more"),
                    () -> device.availableBytes(),
                    () -> Devices.read(x, 4),
                    device::openCopyStream));
            for (var use : uses) {
                assertThatThrownBy(use)
                        .isInstanceOf(DeviceFailedException.class)
                        .hasMessageContaining("cuLaunchKernel(scale)");
            }
        }
    }
}
