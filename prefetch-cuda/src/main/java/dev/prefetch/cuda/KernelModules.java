package dev.prefetch.cuda;

import dev.prefetch.gguf.GgmlType;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import jcuda.Pointer;
import jcuda.driver.CUdevice_attribute;
import jcuda.driver.CUfunction;
import jcuda.driver.CUfunction_attribute;
import jcuda.driver.CUmodule;
import jcuda.driver.JCudaDriver;

/**
 * The kernels, loaded from the PTX resources that {@code src/main/cuda/build-ptx.sh} makes. The driver compiles them for the
 * card when they are loaded, and keeps the result for the next start.
 */
final class KernelModules {

    /** One resource per file of kernels. */
    static final List<String> FAMILIES = List.of("attention", "elementwise", "embed", "experts", "matmul", "matvec");

    private final CudaContext context;
    private final List<CUmodule> modules = new ArrayList<>();

    final Map<GgmlType, Kernel> embed = new EnumMap<>(GgmlType.class);
    final Map<GgmlType, Kernel> matvecOne = new EnumMap<>(GgmlType.class);
    final Map<GgmlType, Kernel> matvecFour = new EnumMap<>(GgmlType.class);
    final Map<GgmlType, Kernel> matvecPicked = new EnumMap<>(GgmlType.class);
    /** All formats but F32. */
    final Map<GgmlType, Kernel> matmulNarrow = new EnumMap<>(GgmlType.class);
    /** All formats but F32. */
    final Map<GgmlType, Kernel> matmulWide = new EnumMap<>(GgmlType.class);

    final Kernel matmulF32;
    final Kernel toHalf;
    /** By the type of the cache, and the largest dimension of values: 64, 128, 256, 512. */
    final Map<GgmlType, List<Kernel>> attention = new EnumMap<>(GgmlType.class);

    final Map<GgmlType, Kernel> storeKv = new EnumMap<>(GgmlType.class);
    final Kernel attentionCombine;
    final Kernel swiGlu;
    final Kernel geGlu;
    final Kernel clampedSwiGlu;
    final Kernel scale;
    final Kernel softCap;
    final Kernel add;
    final Kernel addBias;
    final Kernel rmsNorm;
    final Kernel ropeTable;
    final Kernel rope;
    final Kernel gatherRows;
    final Kernel copyColumns;
    final Kernel scatterAddRows;
    final Kernel topK;
    final Kernel chooseExperts;
    final Kernel addPickedBias;
    final Kernel addPicked;
    final Kernel addByScore;

    /** Bytes of shared memory a block can ask for. */
    final int largestSharedBytes;

    KernelModules(CudaContext context) {
        this.context = context;
        CUmodule embeds = load("embed");
        CUmodule matvecs = load("matvec");
        CUmodule matmuls = load("matmul");
        for (GgmlType type : WeightFormat.TYPES) {
            String suffix = WeightFormat.suffix(type);
            embed.put(type, kernel(embeds, "embed_" + suffix));
            matvecOne.put(type, kernel(matvecs, "matvec_one_" + suffix));
            matvecFour.put(type, kernel(matvecs, "matvec_four_" + suffix));
            matvecPicked.put(type, kernel(matvecs, "matvec_picked_" + suffix));
            if (type != GgmlType.F32) {
                matmulNarrow.put(type, kernel(matmuls, "matmul_narrow_" + suffix));
                matmulWide.put(type, kernel(matmuls, "matmul_wide_" + suffix));
            }
        }
        matmulF32 = kernel(matmuls, "matmul_f32");
        toHalf = kernel(matmuls, "to_half");

        CUmodule attentions = load("attention");
        attentionCombine = kernel(attentions, "attention_combine");
        largestSharedBytes =
                context.attribute(CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
        for (GgmlType type : AttentionLauncher.KV_TYPES) {
            String suffix = WeightFormat.suffix(type);
            storeKv.put(type, kernel(attentions, "store_kv_" + suffix));
            attention.put(
                    type,
                    AttentionLauncher.VALUE_DIMS.stream()
                            .map(dim -> kernel(attentions, "attention_" + suffix + "_" + dim))
                            .toList());
            for (Kernel kernel : Objects.requireNonNull(attention.get(type))) {
                context.check(
                        JCudaDriver.cuFuncSetAttribute(
                                kernel.function(),
                                CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                largestSharedBytes),
                        "cuFuncSetAttribute");
            }
        }

        CUmodule elementwise = load("elementwise");
        swiGlu = kernel(elementwise, "swiglu");
        geGlu = kernel(elementwise, "geglu");
        clampedSwiGlu = kernel(elementwise, "clamped_swiglu");
        scale = kernel(elementwise, "scale");
        softCap = kernel(elementwise, "soft_cap");
        add = kernel(elementwise, "add");
        addBias = kernel(elementwise, "add_bias");
        rmsNorm = kernel(elementwise, "rms_norm");
        ropeTable = kernel(elementwise, "rope_table");
        rope = kernel(elementwise, "rope");
        gatherRows = kernel(elementwise, "gather_rows");
        copyColumns = kernel(elementwise, "copy_columns");
        scatterAddRows = kernel(elementwise, "scatter_add_rows");
        topK = kernel(elementwise, "top_k");

        CUmodule experts = load("experts");
        chooseExperts = kernel(experts, "choose_experts");
        addPickedBias = kernel(experts, "add_picked_bias");
        addPicked = kernel(experts, "add_picked");
        addByScore = kernel(experts, "add_by_score");
    }

    /** The text of a family, as the driver gets it. */
    static byte[] ptx(String family) {
        String name = family + ".ptx";
        try (InputStream resource = KernelModules.class.getResourceAsStream(name)) {
            if (resource == null) {
                throw new IllegalStateException("the resource " + name + " is missing beside " + KernelModules.class);
            }
            return resource.readAllBytes();
        } catch (IOException e) {
            throw new UncheckedIOException("cannot read the resource " + name, e);
        }
    }

    private CUmodule load(String family) {
        byte[] text = ptx(family);
        CUmodule module = new CUmodule();
        try (Arena arena = Arena.ofConfined()) {
            // Outside the heap, because the driver compiles for seconds, and terminated by the zero that allocate
            // leaves.
            MemorySegment image = arena.allocate(text.length + 1L);
            MemorySegment.copy(text, 0, image, ValueLayout.JAVA_BYTE, 0, text.length);
            context.check(
                    JCudaDriver.cuModuleLoadDataEx(
                            module, new NativePointer(image.address()), 0, new int[0], Pointer.to(new int[0])),
                    "cuModuleLoadDataEx(" + family + ".ptx)");
        }
        modules.add(module);
        return module;
    }

    private Kernel kernel(CUmodule module, String name) {
        CUfunction function = new CUfunction();
        context.check(JCudaDriver.cuModuleGetFunction(function, module, name), "cuModuleGetFunction(" + name + ")");
        return new Kernel(name, function);
    }

    void close() {
        for (CUmodule module : modules) {
            context.release(JCudaDriver.cuModuleUnload(module), "cuModuleUnload");
        }
        modules.clear();
    }

    /**
     * A kernel.
     *
     * @param name its name in the PTX
     * @param function the driver's handle
     */
    record Kernel(String name, CUfunction function) {}
}
