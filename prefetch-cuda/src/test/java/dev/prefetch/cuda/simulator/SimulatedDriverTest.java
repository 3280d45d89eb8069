package dev.prefetch.cuda.simulator;

import static dev.prefetch.cuda.simulator.Raw.check;
import static dev.prefetch.cuda.simulator.Raw.device;
import static dev.prefetch.cuda.simulator.Raw.event;
import static dev.prefetch.cuda.simulator.Raw.locked;
import static dev.prefetch.cuda.simulator.Raw.stream;
import static jcuda.driver.JCudaDriver.cuCtxCreate;
import static jcuda.driver.JCudaDriver.cuCtxDestroy;
import static jcuda.driver.JCudaDriver.cuCtxSetCurrent;
import static jcuda.driver.JCudaDriver.cuCtxSynchronize;
import static jcuda.driver.JCudaDriver.cuDeviceGetCount;
import static jcuda.driver.JCudaDriver.cuDriverGetVersion;
import static jcuda.driver.JCudaDriver.cuEventQuery;
import static jcuda.driver.JCudaDriver.cuEventRecord;
import static jcuda.driver.JCudaDriver.cuEventSynchronize;
import static jcuda.driver.JCudaDriver.cuGraphDestroy;
import static jcuda.driver.JCudaDriver.cuGraphExecDestroy;
import static jcuda.driver.JCudaDriver.cuGraphInstantiate;
import static jcuda.driver.JCudaDriver.cuGraphLaunch;
import static jcuda.driver.JCudaDriver.cuInit;
import static jcuda.driver.JCudaDriver.cuLaunchHostFunc;
import static jcuda.driver.JCudaDriver.cuMemAlloc;
import static jcuda.driver.JCudaDriver.cuMemFree;
import static jcuda.driver.JCudaDriver.cuMemGetInfo;
import static jcuda.driver.JCudaDriver.cuMemHostAlloc;
import static jcuda.driver.JCudaDriver.cuMemHostRegister;
import static jcuda.driver.JCudaDriver.cuMemHostUnregister;
import static jcuda.driver.JCudaDriver.cuMemcpyDtoH;
import static jcuda.driver.JCudaDriver.cuMemcpyHtoD;
import static jcuda.driver.JCudaDriver.cuMemcpyHtoDAsync;
import static jcuda.driver.JCudaDriver.cuMemsetD32;
import static jcuda.driver.JCudaDriver.cuMemsetD32Async;
import static jcuda.driver.JCudaDriver.cuStreamBeginCapture;
import static jcuda.driver.JCudaDriver.cuStreamEndCapture;
import static jcuda.driver.JCudaDriver.cuStreamSynchronize;
import static jcuda.driver.JCudaDriver.cuStreamWaitEvent;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.within;

import dev.prefetch.cuda.simulator.Finding.Kind;
import dev.prefetch.cuda.simulator.Raw.At;
import dev.prefetch.cuda.simulator.Raw.CudaError;
import dev.prefetch.cuda.simulator.Raw.Device;
import dev.prefetch.cuda.simulator.Raw.Locked;
import dev.prefetch.cuda.simulator.StreamingProgram.Wait;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import jcuda.Pointer;
import jcuda.driver.CUcontext;
import jcuda.driver.CUdevice;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.CUevent;
import jcuda.driver.CUgraph;
import jcuda.driver.CUgraphExec;
import jcuda.driver.CUresult;
import jcuda.driver.CUstream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** A simulator that finds nothing proves nothing: here it is shown mistakes, and must name each of them. */
class SimulatedDriverTest {

    private static final Path CORRECT = Path.of("src/test/kernels/correct");
    private static final Path WRONG = Path.of("src/test/kernels/wrong");
    private static final Settings TRACKED = Settings.defaults().kernels(CORRECT, Settings.Kernels.TRACKED);
    // About a PCIe 4.0 x16 link, and kernels as long as a layer's copy.
    private static final Settings TIMED = TRACKED.link(25, 6, Duration.ofNanos(1500))
            .kernelTimes(Duration.ofNanos(1200), Duration.ofNanos(2500))
            .virtualClock(Duration.ofNanos(400));

    private SimulatedDriver driver = SimulatedDriver.load(TRACKED);
    private Raw cuda = new Raw(Ptx.correct());

    enum Schedule {
        EAGER,
        LAZY,
        VIRTUAL;

        Settings apply(Settings settings) {
            return switch (this) {
                case EAGER -> settings;
                case LAZY -> settings.lazy();
                case VIRTUAL -> settings.virtualClock(Duration.ofNanos(400)).link(25, 6, Duration.ofNanos(1500));
            };
        }
    }

    private void use(Settings settings) {
        cuda.close();
        driver = SimulatedDriver.load(settings);
        cuda = new Raw(Ptx.correct());
    }

    /** For a context that is lost. */
    private void newContext() {
        cuda.close();
        cuda = new Raw(Ptx.correct());
    }

    @AfterEach
    void close() {
        driver.faults();
        cuda.close();
    }

    private List<Kind> kinds() {
        return driver.findings().stream().map(Finding::kind).toList();
    }

    private static double relativeError(float[] actual, float[] expected) {
        double difference = 0;
        double size = 0;
        for (int i = 0; i < actual.length; i++) {
            if (Float.isNaN(actual[i])) {
                return Double.POSITIVE_INFINITY;
            }
            difference = Math.max(difference, Math.abs(actual[i] - expected[i]));
            size = Math.max(size, Math.abs(expected[i]));
        }
        return difference / size;
    }

    // ---- order ----

    @ParameterizedTest
    @EnumSource
    void saysNothingOfACorrectProgram(Schedule schedule) {
        use(schedule.apply(TRACKED));
        for (int slots = 1; slots <= 4; slots++) {
            StreamingProgram program = new StreamingProgram(driver, cuda, slots);
            assertThat(relativeError(program.run().result(), program.expected()))
                    .isLessThan(1e-5);
        }
        assertThat(driver.findings()).isEmpty();
        assertThat(driver.live()).isEqualTo(new SimulatedDriver.Live(0, 0, 0, 0, 1, 0, 1));
    }

    /** Each wait of the program in turn, by every schedule: found though the result may be right by luck. */
    @ParameterizedTest
    @EnumSource
    void findsEveryWaitThatIsLeftOut(Schedule schedule) {
        use(schedule.apply(TRACKED));
        StreamingProgram program = new StreamingProgram(driver, cuda, 2);
        List<Wait> waits = program.waits();
        assertThat(EnumSet.copyOf(waits)).isEqualTo(EnumSet.allOf(Wait.class));
        for (int i = 0; i < waits.size(); i++) {
            driver.reset();
            program.run(i);
            Kind expected = waits.get(i) == Wait.STAGING_FREE ? Kind.STAGING : Kind.RACE;
            assertThat(kinds()).as("without wait %d, %s", i, waits.get(i)).contains(expected);
        }
        driver.reset();
        program.run();
        assertThat(driver.findings()).isEmpty();
    }

    /** Lazily, what is not waited for has not happened, so that the result is wrong too. */
    @Test
    void computesWrongResultsLazilyWithoutTheWaits() {
        use(TRACKED.lazy());
        StreamingProgram program = new StreamingProgram(driver, cuda, 2);
        float[] expected = program.expected();
        List<Wait> waits = program.waits();
        Set<Wait> wrong = EnumSet.noneOf(Wait.class);
        for (int i = 0; i < waits.size(); i++) {
            if (relativeError(program.run(i).result(), expected) > 1e-3) {
                wrong.add(waits.get(i));
            }
        }
        assertThat(wrong).contains(Wait.LAYER_ARRIVED, Wait.STAGING_FREE, Wait.INPUT_ARRIVED, Wait.RESULT_ARRIVED);
    }

    @Test
    void namesBothSidesOfARaceAndTheMemory() {
        StreamingProgram program = new StreamingProgram(driver, cuda, 2);
        program.run(program.waits().indexOf(Wait.SLOT_FREE));
        // Which of the two ran first is chance.
        assertThat(driver.findings())
                .anySatisfy(finding -> assertThat(finding.text())
                        .containsPattern("kernel matvec_q8_0 #\\d+ on stream \\d+ \\(read\\)")
                        .containsPattern("host-to-device copy #\\d+ \\(9792 bytes\\) on stream \\d+ \\(write\\)")
                        .containsPattern("both touch device memory 0x\\p{XDigit}+\\+\\[0,9792\\)"));
    }

    @Test
    void findsAStagingBufferThatIsRefilledEarlyThoughTheCopyWasQuick() throws Exception {
        Device to = device(4096);
        Locked buffer = locked(4096);
        CUstream stream = stream();
        check(cuMemcpyHtoDAsync(to, buffer, 4096, stream));
        // The copy is over by now, but nothing has told the host.
        CompletableFuture<Void> reached = new CompletableFuture<>();
        CUstream other = stream();
        check(cuLaunchHostFunc(other, ignored -> reached.complete(null), null));
        reached.get(10, TimeUnit.SECONDS);
        Raw.fill(buffer.segment(), (byte) 1);
        check(cuMemcpyHtoDAsync(to, buffer, 4096, stream));
        assertThat(kinds()).containsExactly(Kind.STAGING);
        check(cuStreamSynchronize(stream));
    }

    @Test
    void acceptsAStagingBufferThatIsRefilledAfterAWait() {
        Device to = device(4096);
        Locked buffer = locked(4096);
        CUstream stream = stream();
        for (byte round = 0; round < 5; round++) {
            Raw.fill(buffer.segment(), round);
            driver.hostAccess(buffer.segment(), true, "fills");
            check(cuMemcpyHtoDAsync(to, buffer, 4096, stream));
            check(cuStreamSynchronize(stream));
        }
        assertThat(driver.findings()).isEmpty();
    }

    @Test
    void ordersTheDefaultStreamAgainstBlockingStreamsOnly() {
        int n = 64;
        Device x = device(4 * n);
        check(cuMemsetD32(x, 0, n));
        check(cuCtxSynchronize());
        CUstream blocking = new CUstream();
        check(jcuda.driver.JCudaDriver.cuStreamCreate(blocking, 0));
        check(cuMemsetD32Async(x, 1, n, blocking));
        check(cuda.launch("negate", 1, 64, null, x, n));
        check(cuCtxSynchronize());
        assertThat(driver.findings()).isEmpty();
        check(cuMemsetD32Async(x, 1, n, stream()));
        check(cuda.launch("negate", 1, 64, null, x, n));
        check(cuCtxSynchronize());
        assertThat(kinds()).contains(Kind.RACE);
    }

    @Test
    void takesAnEventAsItWasRecordedWhenTheStreamWaited() {
        int n = 64;
        Device x = device(4 * n);
        check(cuMemsetD32(x, 0, n));
        check(cuCtxSynchronize());
        CUstream first = stream();
        CUstream second = stream();
        CUevent event = event();
        check(cuEventRecord(event, first));
        check(cuStreamWaitEvent(second, event, 0));
        // Recorded again too late for the wait above.
        check(cuda.launch("negate", 1, 64, first, x, n));
        check(cuEventRecord(event, first));
        check(cuda.launch("negate", 1, 64, second, x, n));
        check(cuCtxSynchronize());
        assertThat(kinds()).containsExactly(Kind.RACE);
    }

    @Test
    void waitsForNothingOnAnEventThatWasNeverRecorded() {
        CUstream stream = stream();
        CUevent event = event();
        check(cuStreamWaitEvent(stream, event, 0));
        check(cuEventSynchronize(event));
        check(cuEventQuery(event));
        check(cuStreamSynchronize(stream));
    }

    // ---- graphs and host functions ----

    private CUgraphExec capture(CUstream stream, CUstream side, Device x, int n, boolean joins, boolean forks) {
        CUevent forked = event();
        CUevent joined = event();
        check(cuStreamBeginCapture(stream, 0));
        check(cuMemsetD32Async(x, Float.floatToIntBits(2f), n, stream));
        check(cuEventRecord(forked, stream));
        if (forks) {
            check(cuStreamWaitEvent(side, forked, 0));
            check(cuda.launch("negate", 1, 64, side, x, n));
            check(cuEventRecord(joined, side));
        }
        if (joins) {
            check(cuStreamWaitEvent(stream, joined, 0));
        }
        check(cuda.launch("negate", 1, 64, stream, x, n));
        CUgraph graph = new CUgraph();
        check(cuStreamEndCapture(stream, graph));
        CUgraphExec executable = new CUgraphExec();
        check(cuGraphInstantiate(executable, graph, 0));
        check(cuGraphDestroy(graph));
        return executable;
    }

    @Test
    void replaysACapturedGraph() {
        int n = 64;
        Device x = device(4 * n);
        CUstream stream = stream();
        CUgraphExec graph = capture(stream, stream(), x, n, true, true);
        assertThat(driver.timeline()).isEmpty();
        float[] values = new float[n];
        for (int round = 0; round < 3; round++) {
            check(cuGraphLaunch(graph, stream));
            check(cuda.launch("negate", 1, 64, stream, x, n));
            check(cuStreamSynchronize(stream));
            check(cuMemcpyDtoH(Pointer.to(values), x, 4L * n));
            assertThat(values).containsOnly(-2f);
        }
        assertThat(driver.findings()).isEmpty();
        check(cuGraphExecDestroy(graph));
        assertThat(driver.live().graphs()).isZero();
    }

    @Test
    void findsARaceBetweenTheBranchesOfAGraph() {
        int n = 64;
        Device x = device(4 * n);
        CUstream stream = stream();
        CUstream side = stream();
        check(cuStreamBeginCapture(stream, 0));
        check(cuMemsetD32Async(x, 0, n, stream));
        CUevent forked = event();
        CUevent joined = event();
        check(cuEventRecord(forked, stream));
        check(cuStreamWaitEvent(side, forked, 0));
        check(cuda.launch("negate", 1, 64, side, x, n));
        check(cuEventRecord(joined, side));
        check(cuda.launch("negate", 1, 64, stream, x, n));
        check(cuStreamWaitEvent(stream, joined, 0));
        CUgraph graph = new CUgraph();
        check(cuStreamEndCapture(stream, graph));
        CUgraphExec executable = new CUgraphExec();
        check(cuGraphInstantiate(executable, graph, 0));
        check(cuGraphLaunch(executable, stream));
        check(cuStreamSynchronize(stream));
        assertThat(kinds()).containsExactly(Kind.RACE);
        check(cuGraphExecDestroy(executable));
        check(cuGraphDestroy(graph));
    }

    @Test
    void refusesAGraphWhoseBranchesAreNotJoined() {
        assertThatExceptionOfType(CudaError.class)
                .isThrownBy(() -> capture(stream(), stream(), device(256), 64, false, true))
                .withMessage("CUDA_ERROR_STREAM_CAPTURE_UNJOINED");
    }

    @Test
    void callsHostFunctionsInTheOrderOfTheStream() throws Exception {
        Device x = device(4);
        CUstream stream = stream();
        CompletableFuture<Integer> seen = new CompletableFuture<>();
        check(cuMemsetD32Async(x, 7, 1, stream));
        Locked out = locked(4);
        check(jcuda.driver.JCudaDriver.cuMemcpyDtoHAsync(out, x, 4, stream));
        check(cuLaunchHostFunc(
                stream, ignored -> seen.complete(out.segment().get(java.lang.foreign.ValueLayout.JAVA_INT, 0)), null));
        assertThat(seen.get(10, TimeUnit.SECONDS)).isEqualTo(7);
        check(cuStreamSynchronize(stream));
    }

    // ---- memory ----

    @ParameterizedTest
    @CsvSource({
        "shuffles_with_absent_lanes, 719, names lane",
        "shuffles_after_half_left, 719, which has exited",
        "shuffles_outside_its_mask, 719, outside its mask",
        "writes_to_null, 700, 'block (1,0,0) thread (3,0,0): invalid write of 4 bytes at 0x'",
        "writes_past_the_end, 700, invalid write of 4 bytes",
        "reads_before_the_start, 700, invalid read of 4 bytes",
        "exceeds_shared_memory, 700, invalid write of 4 bytes",
        "traps, 719, __trap()"
    })
    void findsAWrongKernel(String kernel, int error, String text) {
        cuda.close();
        driver = SimulatedDriver.load(Settings.defaults().kernels(WRONG, Settings.Kernels.TRACKED));
        cuda = new Raw(new Ptx().kernel(kernel, ".u64", ".u32").toString());
        Device y = device(1024);
        check(cuMemsetD32(y, 0, 256));
        check(cuda.launch(kernel, 2, 32, null, y, 256));
        assertThat(cuCtxSynchronize()).isEqualTo(error);
        assertThat(driver.findings()).singleElement().satisfies(finding -> {
            assertThat(finding.kind()).isEqualTo(Kind.DEVICE_ERROR);
            assertThat(finding.text()).startsWith(error + ": kernel " + kernel).contains(text);
        });
    }

    @Test
    void findsAPointerOfTheHostInAKernel() {
        try (Arena arena = Arena.ofConfined()) {
            check(cuda.launch("negate", 1, 32, null, arena.allocate(128, 16).address(), 32));
            assertThat(cuCtxSynchronize()).isEqualTo(CUresult.CUDA_ERROR_ILLEGAL_ADDRESS);
        }
    }

    @Test
    void findsUseAfterFreeByKernelsAndByCopies() {
        Device x = device(4096);
        check(cuMemFree(x));
        assertThat(cuMemcpyHtoD(x, Pointer.to(new int[16]), 64)).isEqualTo(CUresult.CUDA_ERROR_INVALID_VALUE);
        check(cuda.launch("negate", 1, 32, null, x, 32));
        assertThat(cuCtxSynchronize()).isEqualTo(CUresult.CUDA_ERROR_ILLEGAL_ADDRESS);
        assertThat(cuMemFree(x)).isEqualTo(CUresult.CUDA_ERROR_ILLEGAL_ADDRESS);
        newContext();
        assertThat(cuMemFree(x)).isEqualTo(CUresult.CUDA_ERROR_INVALID_VALUE);
    }

    @Test
    void findsReadsOfWhatNothingHasWritten() {
        Device x = device(256);
        check(cuMemsetD32(x, 0, 60));
        check(cuda.launch("negate", 1, 64, null, x, 64));
        check(cuCtxSynchronize());
        assertThat(driver.findings()).singleElement().satisfies(finding -> {
            assertThat(finding.kind()).isEqualTo(Kind.UNINITIALISED);
            assertThat(finding.text()).contains("negate").contains("+[240,256)");
        });
        float[] values = new float[64];
        check(cuMemcpyDtoH(Pointer.to(values), x, 256));
        assertThat(values[59]).isZero();
        assertThat(values[60]).isNaN();
    }

    @Test
    void countsWhatIsNotGivenBack() {
        device(100);
        locked(100);
        stream();
        event();
        assertThat(driver.live()).isEqualTo(new SimulatedDriver.Live(1, 1, 1, 1, 1, 0, 1));
        newContext();
        assertThat(driver.live()).isEqualTo(new SimulatedDriver.Live(0, 0, 0, 0, 1, 0, 1));
        assertThat(driver.counter("leaked_device_ranges")).isEqualTo(1);
        assertThat(driver.counter("leaked_host_ranges")).isEqualTo(1);
        assertThat(driver.counter("leaked_streams")).isEqualTo(1);
        assertThat(driver.counter("leaked_events")).isEqualTo(1);
    }

    @Test
    void hasTheDeviceMemoryOfItsSettings() {
        driver.apply(TRACKED.deviceBytes(1 << 20));
        Device most = device(1 << 19);
        long[] free = new long[1];
        long[] total = new long[1];
        check(cuMemGetInfo(free, total));
        assertThat(total[0]).isEqualTo(1 << 20);
        assertThat(free[0]).isEqualTo(1 << 19);
        assertThat(cuMemAlloc(new CUdeviceptr(), (1 << 19) + 1)).isEqualTo(CUresult.CUDA_ERROR_OUT_OF_MEMORY);
        check(cuMemFree(most));
        check(cuMemFree(device(1 << 20)));
        assertThat(driver.counter("device_peak_bytes")).isEqualTo(1 << 20);
    }

    @Test
    void locksAsMuchHostMemoryAsItsSettingsAllow() {
        driver.apply(TRACKED.pageLockedBytes(1 << 20));
        locked(1 << 19);
        assertThat(cuMemHostAlloc(new Pointer(), (1 << 19) + 1, 0)).isEqualTo(CUresult.CUDA_ERROR_OUT_OF_MEMORY);
        try (Arena arena = Arena.ofShared()) {
            Pointer memory = new At(arena.allocate(1 << 19, 4096).address());
            check(cuMemHostRegister(memory, 1 << 19, 0));
            assertThat(cuMemHostRegister(memory, 4096, 0))
                    .isEqualTo(CUresult.CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
            assertThat(cuMemHostAlloc(new Pointer(), 1, 0)).isEqualTo(CUresult.CUDA_ERROR_OUT_OF_MEMORY);
            check(cuMemHostUnregister(memory));
            assertThat(cuMemHostUnregister(memory)).isEqualTo(CUresult.CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
        }
    }

    @Test
    void refusesToRegisterHostMemoryWhereASystemWould() {
        driver.apply(TRACKED.hostRegistrationAnswers(CUresult.CUDA_ERROR_NOT_SUPPORTED));
        try (Arena arena = Arena.ofShared()) {
            Pointer memory = new At(arena.allocate(8192, 4096).address());
            assertThat(cuMemHostRegister(memory, 8192, 0)).isEqualTo(CUresult.CUDA_ERROR_NOT_SUPPORTED);
        }
        assertThat(driver.live().hostRanges()).isZero();
    }

    @Test
    void findsCopiesAcrossTheBoundaryOfPageLockedMemory() {
        try (Arena arena = Arena.ofShared()) {
            MemorySegment memory = arena.allocate(16384, 4096);
            check(cuMemHostRegister(new At(memory.address()), 8192, 0));
            check(cuMemHostRegister(new At(memory.address() + 8192), 8192, 0));
            Device to = device(16384);
            CUstream stream = stream();
            check(cuMemcpyHtoDAsync(to, new At(memory.address()), 8192, stream));
            check(cuMemcpyHtoDAsync(to, new At(memory.address() + 8192), 8192, stream));
            assertThat(driver.findings()).isEmpty();
            check(cuMemcpyHtoDAsync(to, new At(memory.address()), 16384, stream));
            assertThat(kinds()).containsExactly(Kind.BOUNDARY);
            check(cuMemHostUnregister(new At(memory.address())));
            check(cuMemHostUnregister(new At(memory.address() + 8192)));
        }
    }

    @Test
    void refusesPageableCopiesOnDemand() {
        driver.apply(TRACKED.refusePageableCopies());
        CUstream stream = stream();
        Device to = device(64);
        assertThat(cuMemcpyHtoDAsync(to, Pointer.to(new int[16]), 64, stream))
                .isEqualTo(CUresult.CUDA_ERROR_INVALID_VALUE);
        assertThat(kinds()).containsExactly(Kind.PAGEABLE);
        check(cuMemcpyHtoDAsync(to, locked(64), 64, stream));
        check(cuStreamSynchronize(stream));
    }

    // ---- the virtual clock ----

    @Test
    void givesTheSameTimelineEveryTimeOnTheVirtualClock() {
        use(TIMED);
        Set<List<String>> timelines = new HashSet<>();
        for (int i = 0; i < 10; i++) {
            driver.reset();
            new StreamingProgram(driver, cuda, 2).run();
            List<Span> spans = driver.timeline();
            long start = spans.getFirst().beginNanos();
            timelines.add(spans.stream()
                    .map(s -> s.engine() + " " + (s.beginNanos() - start) + " " + (s.endNanos() - start))
                    .toList());
        }
        assertThat(timelines).hasSize(1);
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3})
    void hidesCopiesBehindKernelsWithTwoSlotsAndNotWithOne(int slots) {
        // A copy takes 5 us, a kernel as long.
        double gbps = StreamingProgram.LAYER_BYTES / 5000.0;
        use(TRACKED.link(gbps, 0, Duration.ZERO)
                .kernelTimes(Duration.ZERO, Duration.ofNanos(5000))
                .virtualClock(Duration.ZERO));
        driver.reset();
        StreamingProgram program = new StreamingProgram(driver, cuda, slots);
        assertThat(relativeError(program.run().result(), program.expected())).isLessThan(1e-5);
        long begin = Long.MAX_VALUE;
        long end = 0;
        for (Span span : driver.timeline()) {
            if (span.engine() != Span.Engine.DEVICE_TO_HOST && span.bytes() != 4 * StreamingProgram.SIZE) {
                begin = Math.min(begin, span.beginNanos());
                end = Math.max(end, span.endNanos());
            }
        }
        int steps = slots == 1 ? 2 * StreamingProgram.LAYERS : StreamingProgram.LAYERS + 1;
        assertThat(end - begin).isCloseTo(steps * 5000L, within(50L));
    }

    @ParameterizedTest
    @CsvSource({"true, 4096, 1664", "true, 1000000, 41500", "false, 4096, 2183", "false, 1000000, 168167"})
    void takesTheTimeOfTheLinkForEachCopy(boolean pageLocked, int bytes, long nanos) {
        use(TIMED);
        driver.reset();
        Device to = device(bytes);
        CUstream stream = stream();
        Pointer from = pageLocked ? locked(bytes) : Pointer.to(new byte[bytes]);
        CUevent begin = Raw.timingEvent();
        CUevent end = Raw.timingEvent();
        check(cuEventRecord(begin, stream));
        check(cuMemcpyHtoDAsync(to, from, bytes, stream));
        check(cuEventRecord(end, stream));
        check(cuEventSynchronize(end));
        assertThat(driver.timeline())
                .singleElement()
                .satisfies(span -> assertThat(span.nanos()).isEqualTo(nanos));
        float[] millis = new float[1];
        check(jcuda.driver.JCudaDriver.cuEventElapsedTime(millis, begin, end));
        assertThat(millis[0] * 1e6).isGreaterThanOrEqualTo(nanos).isLessThan(nanos + 1500);
    }

    @Test
    void letsTheHostWaitForPageableCopiesOnly() {
        use(TIMED);
        Device to = device(1 << 20);
        CUstream stream = stream();
        Locked locked = locked(1 << 20);
        long start = driver.virtualClockNanos();
        check(cuMemcpyHtoDAsync(to, locked, 1 << 20, stream));
        assertThat(driver.virtualClockNanos() - start).isEqualTo(400);
        check(cuStreamSynchronize(stream));
        start = driver.virtualClockNanos();
        check(cuMemcpyHtoDAsync(to, Pointer.to(new byte[1 << 20]), 1 << 20, stream));
        assertThat(driver.virtualClockNanos() - start).isGreaterThan((long) ((1 << 20) / 6.0));
    }

    @Test
    void endsAPollingLoopOnTheVirtualClock() {
        use(TIMED);
        CUstream stream = stream();
        CUevent event = event();
        check(cuMemcpyHtoDAsync(device(1 << 20), locked(1 << 20), 1 << 20, stream));
        check(cuEventRecord(event, stream));
        int polls = 0;
        while (cuEventQuery(event) == CUresult.CUDA_ERROR_NOT_READY) {
            polls++;
        }
        assertThat(polls).isBetween(50, 200);
    }

    @Test
    void waitsOnTheVirtualClockForWhatAnotherThreadHasYetToSubmit() throws Exception {
        use(TIMED);
        Device x = device(256);
        check(cuMemsetD32(x, Float.floatToIntBits(1f), 64));
        check(cuCtxSynchronize());
        CUstream first = stream();
        CUevent recorded = event();
        check(cuda.launch("negate", 1, 64, first, x, 64));
        check(cuEventRecord(recorded, first));
        CompletableFuture<float[]> result = CompletableFuture.supplyAsync(() -> {
            check(cuCtxSetCurrent(cuda.context));
            CUstream second = stream();
            check(cuStreamWaitEvent(second, recorded, 0));
            check(cuda.launch("negate", 1, 64, second, x, 64));
            check(cuStreamSynchronize(second));
            float[] values = new float[64];
            check(cuMemcpyDtoH(Pointer.to(values), x, 256));
            return values;
        });
        check(cuStreamSynchronize(first));
        assertThat(result.get(30, TimeUnit.SECONDS)).containsOnly(1f);
        assertThat(driver.findings()).isEmpty();
    }

    // ---- faults ----

    @Test
    void failsTheCallThatTheFaultNames() {
        driver.faults(Fault.returned("cuMemAlloc", 2, CUresult.CUDA_ERROR_OUT_OF_MEMORY));
        device(64);
        assertThat(cuMemAlloc(new CUdeviceptr(), 64)).isEqualTo(CUresult.CUDA_ERROR_OUT_OF_MEMORY);
        device(64);
        driver.faults(Fault.returnedFrom("cuMemAlloc", 2, CUresult.CUDA_ERROR_OUT_OF_MEMORY));
        device(64);
        assertThat(cuMemAlloc(new CUdeviceptr(), 64)).isEqualTo(CUresult.CUDA_ERROR_OUT_OF_MEMORY);
        assertThat(cuMemAlloc(new CUdeviceptr(), 64)).isEqualTo(CUresult.CUDA_ERROR_OUT_OF_MEMORY);
        assertThat(driver.counter("faults")).isEqualTo(3);
    }

    @Test
    void losesTheContextByAStickyErrorAndWorksInANewOne() {
        StreamingProgram program = new StreamingProgram(driver, cuda, 2);
        driver.faults(Fault.sticky("cuLaunchKernel.matvec_q8_0", 3, CUresult.CUDA_ERROR_LAUNCH_FAILED));
        assertThatExceptionOfType(CudaError.class)
                .isThrownBy(program::run)
                .satisfies(e -> assertThat(e.result).isEqualTo(CUresult.CUDA_ERROR_LAUNCH_FAILED));
        assertThat(cuMemAlloc(new CUdeviceptr(), 64)).isEqualTo(CUresult.CUDA_ERROR_LAUNCH_FAILED);
        driver.faults();
        newContext();
        assertThat(driver.live()).isEqualTo(new SimulatedDriver.Live(0, 0, 0, 0, 1, 0, 1));
        StreamingProgram again = new StreamingProgram(driver, cuda, 2);
        assertThat(relativeError(again.run().result(), again.expected())).isLessThan(1e-5);
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void hangsUntilReleased(boolean virtualClock) {
        if (virtualClock) {
            use(TIMED);
        }
        driver.faults(Fault.hang("cuMemcpyHtoDAsync", 1));
        CUstream stream = stream();
        CUevent event = event();
        check(cuMemcpyHtoDAsync(device(64), locked(64), 64, stream));
        check(cuEventRecord(event, stream));
        for (int i = 0; i < 1000; i++) {
            assertThat(cuEventQuery(event)).isEqualTo(CUresult.CUDA_ERROR_NOT_READY);
        }
        driver.releaseHangs();
        check(cuEventSynchronize(event));
    }

    @Test
    void destroysAContextWithAnOperationThatHangs() {
        driver.faults(Fault.hang("cuMemcpyHtoDAsync", 1));
        check(cuMemcpyHtoDAsync(device(64), locked(64), 64, stream()));
        newContext();
        assertThat(driver.live()).isEqualTo(new SimulatedDriver.Live(0, 0, 0, 0, 1, 0, 1));
    }

    @Test
    void delaysAnOperation() {
        use(TIMED);
        driver.faults(Fault.delay("cuMemcpyHtoDAsync", 1, Duration.ofMillis(3)));
        CUstream stream = stream();
        long start = driver.virtualClockNanos();
        check(cuMemcpyHtoDAsync(device(64), locked(64), 64, stream));
        check(cuStreamSynchronize(stream));
        assertThat(driver.virtualClockNanos() - start).isBetween(3_000_000L, 3_010_000L);
    }

    /** Every call of the program in turn fails; none is passed over in silence, and none leaves anything behind. */
    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void failsAtEveryCallOfAProgram(boolean sticky) {
        driver.faults();
        new StreamingProgram(driver, cuda, 2).run();
        Map<String, Long> calls = driver.calls();
        List<Fault> faults = new ArrayList<>();
        Set<String> starting = Set.of("cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync", "cuLaunchKernel");
        calls.forEach((function, count) -> {
            boolean releases = function.contains("Destroy") || function.contains("Free");
            if (sticky ? starting.contains(function) : !releases) {
                for (int call = 1; call <= count; call++) {
                    faults.add(
                            sticky
                                    ? Fault.sticky(function, call, CUresult.CUDA_ERROR_ILLEGAL_ADDRESS)
                                    : Fault.returned(function, call, CUresult.CUDA_ERROR_UNKNOWN));
                }
            }
        });
        assertThat(faults).hasSizeGreaterThan(StreamingProgram.LAYERS);
        for (Fault fault : faults) {
            driver.faults(fault);
            StreamingProgram program = new StreamingProgram(driver, cuda, 2);
            assertThatExceptionOfType(CudaError.class).as(fault.text()).isThrownBy(program::run);
            driver.faults();
            if (sticky) {
                newContext();
            }
            assertThat(driver.live()).as(fault.text()).isEqualTo(new SimulatedDriver.Live(0, 0, 0, 0, 1, 0, 1));
        }
        StreamingProgram program = new StreamingProgram(driver, cuda, 2);
        assertThat(relativeError(program.run().result(), program.expected())).isLessThan(1e-5);
    }

    // ---- the machine ----

    @Test
    void hasTheDriverAndDevicesOfItsSettings() {
        driver.apply(TRACKED.driverVersion(11080).devices(0));
        int[] value = new int[1];
        check(cuDriverGetVersion(value));
        assertThat(value[0]).isEqualTo(11080);
        assertThat(cuInit(0)).isEqualTo(CUresult.CUDA_ERROR_NO_DEVICE);
        check(cuDeviceGetCount(value));
        assertThat(value[0]).isZero();
    }

    @Test
    void losesNoOtherContextByAStickyError() {
        Device mine = device(256);
        check(cuMemsetD32(mine, 0, 64));
        check(cuCtxSynchronize());
        CUcontext second = new CUcontext();
        check(cuCtxCreate(second, 0, new CUdevice()));
        driver.faults(Fault.sticky("cuMemsetD32Async", 1, CUresult.CUDA_ERROR_ILLEGAL_ADDRESS));
        check(cuMemsetD32Async(device(256), 0, 64, stream()));
        assertThat(cuCtxSynchronize()).isEqualTo(CUresult.CUDA_ERROR_ILLEGAL_ADDRESS);
        check(cuCtxSetCurrent(cuda.context));
        check(cuda.launch("negate", 1, 64, null, mine, 64));
        check(cuCtxSynchronize());
        check(cuCtxDestroy(second));
    }

    @Test
    void keepsContextsApart() {
        Device mine = device(64);
        CUcontext second = new CUcontext();
        check(cuCtxCreate(second, 0, new CUdevice()));
        CUstream theirs = stream();
        check(cuCtxDestroy(second));
        check(cuCtxSetCurrent(cuda.context));
        assertThat(cuStreamSynchronize(theirs)).isEqualTo(CUresult.CUDA_ERROR_INVALID_HANDLE);
        check(cuMemFree(mine));
    }

    @Test
    void copiesWithManyThreadsAtOnce() throws Exception {
        List<CompletableFuture<Void>> threads = new ArrayList<>();
        for (int t = 0; t < 6; t++) {
            int value = t;
            threads.add(CompletableFuture.runAsync(() -> {
                check(cuCtxSetCurrent(cuda.context));
                CUstream stream = stream();
                Device x = device(4096);
                int[] actual = new int[1024];
                for (int i = 0; i < 50; i++) {
                    check(cuMemsetD32Async(x, value + i, 1024, stream));
                    check(cuStreamSynchronize(stream));
                    check(cuMemcpyDtoH(Pointer.to(actual), x, 4096));
                    int expected = value + i;
                    assertThat(Arrays.stream(actual).allMatch(a -> a == expected))
                            .isTrue();
                }
                check(cuMemFree(x));
            }));
        }
        for (CompletableFuture<Void> thread : threads) {
            thread.get(60, TimeUnit.SECONDS);
        }
        assertThat(driver.findings()).isEmpty();
    }
}
