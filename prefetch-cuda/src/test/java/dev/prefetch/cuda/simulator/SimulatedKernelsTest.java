package dev.prefetch.cuda.simulator;

import static dev.prefetch.cuda.simulator.Raw.check;
import static dev.prefetch.cuda.simulator.Raw.device;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;
import static jcuda.driver.JCudaDriver.cuCtxSynchronize;
import static jcuda.driver.JCudaDriver.cuLaunchKernel;
import static jcuda.driver.JCudaDriver.cuMemcpyDtoH;
import static jcuda.driver.JCudaDriver.cuMemcpyHtoD;
import static jcuda.driver.JCudaDriver.cuMemsetD32;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.prefetch.cuda.simulator.Raw.At;
import dev.prefetch.cuda.simulator.Raw.Device;
import dev.prefetch.cuda.simulator.Raw.Struct;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.SplittableRandom;
import jcuda.Pointer;
import jcuda.driver.CUresult;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** What g++ makes of CUDA C++, and what modules accept. */
class SimulatedKernelsTest {

    static final Path CORRECT = Path.of("src/test/kernels/correct");
    private static final Arena ARENA = Arena.global();

    private SimulatedDriver driver =
            SimulatedDriver.load(Settings.defaults().kernels(CORRECT, Settings.Kernels.TRACKED));
    private Raw cuda = new Raw(Ptx.correct());

    @AfterEach
    void close() {
        cuda.close();
    }

    private void use(Settings.Kernels how) {
        cuda.close();
        driver = SimulatedDriver.load(Settings.defaults().kernels(CORRECT, how));
        cuda = new Raw(Ptx.correct());
    }

    private static Device upload(float[] values) {
        Device device = device(4L * values.length);
        check(cuMemcpyHtoD(device, Pointer.to(values), 4L * values.length));
        return device;
    }

    private static float[] download(Device device, int n) {
        float[] values = new float[n];
        check(cuMemcpyDtoH(Pointer.to(values), device, 4L * n));
        return values;
    }

    private static float[] random(int n) {
        SplittableRandom random = new SplittableRandom(n);
        float[] values = new float[n];
        for (int i = 0; i < n; i++) {
            values[i] = (float) random.nextDouble(-1, 1);
        }
        return values;
    }

    private void assertNothingFound() {
        assertThat(driver.findings()).isEmpty();
    }

    @ParameterizedTest
    @EnumSource
    void runsBarriersShufflesAndSharedMemory(Settings.Kernels how) {
        use(how);
        int n = 777;
        float[] x = random(n);
        float[] weights = random(n + 1);
        Device out = device(4 * n);
        check(cuda.launch("rms_norm", 1, 256, null, upload(x), upload(weights), out, n, 1e-5f));
        float[] actual = download(out, n);
        double squares = 0;
        for (float v : x) {
            squares += v * v;
        }
        for (int i = 0; i < n; i++) {
            assertThat(actual[i]).isCloseTo((float) (x[i] / Math.sqrt(squares / n + 1e-5) * weights[i]), within(1e-5f));
        }
        assertNothingFound();
    }

    @ParameterizedTest
    @EnumSource
    void runsDynamicSharedMemoryAndAtomics(Settings.Kernels how) {
        use(how);
        byte[] data = new byte[5000];
        new SplittableRandom(7).nextBytes(data);
        int[] expected = new int[256];
        for (byte b : data) {
            expected[b & 255]++;
        }
        Device bytes = device(data.length);
        Device counts = device(1024);
        check(cuMemcpyHtoD(bytes, Pointer.to(data), data.length));
        check(cuMemsetD32(counts, 0, 256));
        check(cuda.launch("histogram", 3, 64, 1024, null, Raw.arguments(ARENA, bytes, data.length, counts)));
        int[] actual = new int[256];
        check(cuMemcpyDtoH(Pointer.to(actual), counts, 1024));
        assertThat(actual).isEqualTo(expected);
        assertNothingFound();
    }

    @Test
    void takesStructuresByValueAndPackedParameters() {
        int n = 100;
        float[] x = random(n);
        Device from = upload(x);
        Device to = device(4 * n + 8);
        MemorySegment line = ARENA.allocate(12, 4);
        line.set(JAVA_FLOAT, 0, 3f);
        line.set(JAVA_FLOAT, 4, 0.5f);
        line.set(JAVA_INT, 8, n);
        check(cuda.launch("scale_and_add", 2, 32, null, to, from, new Struct(line), 2L));
        float[] shifted = new float[n];
        check(cuMemcpyDtoH(Pointer.to(shifted), to.withByteOffset(8), 4L * n));
        for (int i = 0; i < n; i++) {
            assertThat(shifted[i]).isCloseTo(3 * x[i] + 0.5f, within(1e-6f));
        }

        MemorySegment packed = ARENA.allocate(40, 8);
        packed.set(JAVA_LONG, 0, to.address());
        packed.set(JAVA_LONG, 8, from.address());
        MemorySegment.copy(line, 0, packed, 16, 12);
        packed.set(JAVA_FLOAT, 16, 4f);
        packed.set(JAVA_LONG, 32, 0L);
        MemorySegment length = ARENA.allocate(8, 8);
        length.set(JAVA_LONG, 0, 40L);
        MemorySegment extra = ARENA.allocate(40, 8);
        long[] words = {1, packed.address(), 2, length.address(), 0};
        MemorySegment.copy(MemorySegment.ofArray(words), 0, extra, 0, 40);
        Pointer none = null;
        check(cuLaunchKernel(
                cuda.function("scale_and_add"), 1, 1, 1, 32, 1, 1, 0, null, none, new At(extra.address())));
        float[] scaled = download(to, n);
        for (int i = 0; i < n; i++) {
            assertThat(scaled[i]).isCloseTo(4 * x[i] + 0.5f, within(1e-6f));
        }
        assertNothingFound();
    }

    @ParameterizedTest
    @EnumSource
    void multipliesMatricesInFragments(Settings.Kernels how) {
        use(how);
        int inner = 48;
        float[] a = random(16 * inner);
        float[] b = random(16 * inner + 1);
        short[] a16 = new short[16 * inner];
        short[] b16 = new short[16 * inner];
        for (int i = 0; i < a16.length; i++) {
            a16[i] = Float.floatToFloat16(a[i]);
            b16[i] = Float.floatToFloat16(b[i]);
        }
        Device left = device(2L * a16.length);
        Device right = device(2L * b16.length);
        Device product = device(4 * 256);
        check(cuMemcpyHtoD(left, Pointer.to(a16), 2L * a16.length));
        check(cuMemcpyHtoD(right, Pointer.to(b16), 2L * b16.length));
        check(cuda.launch("multiply_16x16", 1, 32, null, left, right, product, inner));
        float[] actual = download(product, 256);
        for (int row = 0; row < 16; row++) {
            for (int column = 0; column < 16; column++) {
                double expected = 0;
                for (int k = 0; k < inner; k++) {
                    expected += (double) Float.float16ToFloat(a16[row * inner + k])
                            * Float.float16ToFloat(b16[column * inner + k]);
                }
                assertThat(actual[row * 16 + column]).isCloseTo((float) expected, within(1e-4f));
            }
        }
        assertNothingFound();
    }

    @ParameterizedTest
    @EnumSource
    void roundsToHalfPrecisionLikeTheJdk(Settings.Kernels how) {
        use(how);
        SplittableRandom random = new SplittableRandom(16);
        float[] values = new float[4096];
        for (int i = 0; i < values.length; i++) {
            values[i] = i < 3000
                    ? Float.intBitsToFloat(random.nextInt())
                    : (float) random.nextDouble(-1, 1) * (float) Math.pow(2, random.nextInt(-26, 17));
            if (Float.isNaN(values[i])) {
                values[i] = 65504f;
            }
        }
        Device x = upload(values);
        check(cuda.launch("to_half_and_back", 16, 256, null, x, values.length));
        float[] actual = download(x, values.length);
        for (int i = 0; i < values.length; i++) {
            assertThat(actual[i]).isEqualTo(Float.float16ToFloat(Float.floatToFloat16(values[i])));
        }
    }

    @Test
    void refusesPtxWhoseParametersDifferFromTheKernel() {
        String stale = new Ptx().kernel("negate", ".u64", ".u64").toString();
        org.assertj.core.api.Assertions.assertThatExceptionOfType(Raw.CudaError.class)
                .isThrownBy(() -> new Raw(stale))
                .withMessage("CUDA_ERROR_INVALID_IMAGE");
        assertThat(driver.findings()).singleElement().satisfies(finding -> {
            assertThat(finding.kind()).isEqualTo(Finding.Kind.STALE);
            assertThat(finding.text()).contains("negate").contains("matrix.cu");
        });
    }

    @Test
    void refusesPtxThatTheDriverIsTooOldFor() {
        driver.apply(Settings.defaults().newestPtx(69));
        org.assertj.core.api.Assertions.assertThatExceptionOfType(Raw.CudaError.class)
                .isThrownBy(() -> new Raw(Ptx.correct()))
                .withMessage("CUDA_ERROR_UNSUPPORTED_PTX_VERSION");
    }

    @Test
    void refusesLaunchesThatADeviceWouldRefuse() {
        Device x = upload(random(32));
        assertThat(cuda.launch("negate", 1, 1025, null, x, 32)).isEqualTo(CUresult.CUDA_ERROR_INVALID_VALUE);
        assertThat(cuda.launch("negate", 0, 32, null, x, 32)).isEqualTo(CUresult.CUDA_ERROR_INVALID_VALUE);
        assertThat(cuda.launch("negate", 1, 32, 50_000, null, Raw.arguments(ARENA, x, 32)))
                .isEqualTo(CUresult.CUDA_ERROR_INVALID_VALUE);
        check(cuda.launch("negate", 1, 32, null, x, 32));
        check(cuCtxSynchronize());
        assertThat(Arrays.equals(download(x, 32), random(32))).isFalse();
    }
}
